// What a Node.js program does with Consul, by the npm package `consul`.
// Run as `node scenario.js PORT TOKEN`; ends with the line `fine`.
"use strict";

const assert = require("node:assert");
const Consul = require("consul");

const NAME = "shop-node";

function next(watch) {
  return new Promise((resolve, reject) => {
    watch.once("change", resolve);
    watch.once("error", reject);
  });
}

async function services(consul) {
  await consul.agent.service.register({
    name: NAME,
    id: "one",
    address: "127.0.0.1",
    port: 8001,
    tags: ["blue"],
    meta: { Team_Name: "fig" },
    check: { ttl: "30s", deregistercriticalserviceafter: "10m" },
  });
  assert.strictEqual((await consul.agent.service.list()).one.Port, 8001);
  assert.strictEqual((await consul.health.service({ service: NAME, passing: true })).length, 0);
  await consul.agent.check.pass({ id: "service:one", note: "fine" });
  const [found] = await consul.health.service({ service: NAME, passing: true });
  assert.deepStrictEqual(found.Service.Meta, { Team_Name: "fig" });
  assert.ok((await consul.catalog.service.list())[NAME].includes("blue"));
  assert.strictEqual((await consul.catalog.service.nodes(NAME))[0].ServiceID, "one");
  assert.strictEqual((await consul.health.checks(NAME))[0].Status, "passing");

  const watch = consul.watch({
    method: consul.health.service,
    options: { service: NAME, passing: true, wait: "20s" },
    backoffFactor: 100,
  });
  assert.strictEqual((await next(watch)).length, 1);
  const change = next(watch);
  await consul.agent.service.maintenance({ id: "one", enable: true, reason: "new disk" });
  assert.strictEqual((await change).length, 0);
  watch.end();
  await consul.agent.service.deregister("one");
  assert.strictEqual((await consul.catalog.service.nodes(NAME)).length, 0);
}

async function keys(consul) {
  assert.strictEqual(await consul.kv.get(`${NAME}/key`), undefined);
  assert.strictEqual(await consul.kv.set(`${NAME}/key`, "fig"), true);
  const found = await consul.kv.get(`${NAME}/key`);
  assert.strictEqual(found.Value, "fig");
  // The library tells `false` as undefined.
  assert.ok(!(await consul.kv.set({ key: `${NAME}/key`, value: "x", cas: "1" })));
  assert.deepStrictEqual(await consul.kv.keys(`${NAME}/`), [`${NAME}/key`]);
  const session = (await consul.session.create({ ttl: "30s", lockdelay: "0s" })).ID;
  const lock = { key: `${NAME}/lock`, value: "me", acquire: session };
  assert.strictEqual(await consul.kv.set(lock), true);
  assert.strictEqual((await consul.kv.get(`${NAME}/lock`)).Session, session);
  await consul.session.renew(session);
  await consul.session.destroy(session);
  assert.strictEqual((await consul.kv.get(`${NAME}/lock`)).Session, undefined);
  const told = await consul.transaction.create([{ KV: { Verb: "get", Key: `${NAME}/key` } }]);
  assert.strictEqual(told.Results[0].KV.Key, `${NAME}/key`);
  await consul.kv.del({ key: `${NAME}/`, recurse: true });
  assert.strictEqual(await consul.kv.get(`${NAME}/key`), undefined);
}

async function main() {
  const [port, token] = process.argv.slice(2);
  const consul = new Consul({ host: "127.0.0.1", port: Number(port), defaults: { token } });
  assert.strictEqual((await consul.agent.self()).Config.NodeName, "moreton");
  assert.match(await consul.status.leader(), /:/);
  assert.deepStrictEqual(await consul.catalog.datacenters(), ["dc1"]);
  assert.strictEqual((await consul.catalog.node.list())[0].Node, "moreton");
  await services(consul);
  await keys(consul);
  await assert.rejects(
    new Consul({ port: Number(port), defaults: { token: "wrong" } }).agent.self(),
    /forbidden/,
  );
  console.log("fine");
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
