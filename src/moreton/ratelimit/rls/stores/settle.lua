-- Settles several descriptors in one step, by the server's clock: one decision, and who is charged.
--
-- KEYS  the state of each limit
-- ARGV  "settle", 0, 0, the time in us (0: the server's), and for each limit: its kind, the cost
--       (below 0 gives back), what has to be left beside it, the patience in us, whether it is
--       shadow, quota, drains and a report, when what is given back was taken (0: now), how many
--       numbers follow, and these
-- What is before this is that of decide.lua, the kinds of limits. The rest is as
-- moreton.ratelimit.rls.core.settling, which says why it is so.

local asks, place = {}, 5
for number, key in ipairs(KEYS) do
  local one = {key = key, kind = kinds[ARGV[place]], cost = tonumber(ARGV[place + 1])}
  one.amount, patience = one.cost + tonumber(ARGV[place + 2]), tonumber(ARGV[place + 3])
  one.shadow, one.in_quota = ARGV[place + 4] == '1', ARGV[place + 5] == '1'
  one.drains, one.report = ARGV[place + 6] == '1', ARGV[place + 7] == '1'
  one.taken = tonumber(ARGV[place + 8])
  local count = tonumber(ARGV[place + 9])
  for offset = 1, count do one[offset] = tonumber(ARGV[place + 9 + offset]) end
  place = place + 10 + count
  one.quota = one[1]
  if one.kind.load(one) == false then return {-2, string.format('%.0f', now)} end
  asks[number] = one
end

local refused, delay, quotas, empty = 0, 0, 0, 0
for _, one in ipairs(asks) do
  one.waits, one.over = 0, false
  if not one.report and one.cost >= 0 then
    if one.amount > one.quota then
      one.waits, one.over = NEVER, true
    else
      one.waits = one.kind.wait(one, one.amount)
      one.over = one.waits > (one.reservable and one.bearable or 0)
    end
  end
  local counts = one.over and not one.shadow
  if one.in_quota then
    quotas = quotas + 1
    if counts then empty = empty + 1 end
  elseif counts then
    refused = 1
  end
end
if quotas > 0 and quotas == empty then refused = 1 end
if refused == 0 then
  for _, one in ipairs(asks) do
    if not one.over and not one.shadow then delay = max(delay, one.waits) end
  end
end

local reply = {refused, string.format('%.0f', now), delay}
for _, one in ipairs(asks) do
  local before = one.kind.left(one)
  local counted = refused == 0
  if one.report or one.cost < 0 then
    counted = true
  elseif one.over then
    counted = one.drains
  end
  if counted and one.cost ~= 0 then
    if one.cost < 0 then
      cost = -one.cost
      one.kind.give(one, one.taken > 0 and one.taken or now)
    else
      cost = one.cost
      local ahead = one.shadow and one.waits or delay
      one.kind.take(one, (one.reservable and not one.over) and ahead or 0)
    end
    one.kind.save(one)
  end
  local reset = one.finish and one.finish - now or one.kind.full(one)
  reply[#reply + 1] = before
  reply[#reply + 1] = one.kind.left(one)
  reply[#reply + 1] = reset
  reply[#reply + 1] = one.waits
  reply[#reply + 1] = one.over and 1 or 0
end
return reply
