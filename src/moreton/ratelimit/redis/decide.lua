-- Decides over several limits in one step, by the server's clock: all of them are charged, or none.
--
-- KEYS  the state of each limit
-- ARGV  what to do (decide, ask: decide briefly, charge, give), the cost, the patience in us, the time in us (0: the
--       server's), and for each limit: its kind, how many numbers follow, and these
-- Of the kinds of limits a limiter sends only those that it has: each begins with a line `--- kind`.
-- Times are in microseconds and what a moment owes in nanoseconds: exact in a double. The
-- algorithms are those of moreton.ratelimit.core, which says why they are so.

local what, cost, patience, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local own_time = now == 0
if own_time then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local max, min, floor, ceil = math.max, math.min, math.floor, math.ceil
local NEVER = -1

local function load(key)
  local found = redis.call('GET', key)
  return found and cmsgpack.unpack(found) or nil
end

local function save(key, state, micros)
  if micros <= 0 then
    redis.call('DEL', key)
  elseif own_time then
    redis.call('SET', key, cmsgpack.pack(state), 'PX', ceil(micros / 1000))
  else
    redis.call('SET', key, cmsgpack.pack(state))
  end
end

local function expire(key, micros)
  if own_time then redis.call('PEXPIRE', key, max(1, ceil(micros / 1000))) end
end

local kinds = {}

--- moment
-- quota, interval, tolerance, queue (all of it in ns); state: when, what is owed then in ns
kinds.moment = {
  load = function(one)
    local state = load(one.key)
    one.debt = state and max(0, state[2] - (now - state[1]) * 1000) or 0
    one.interval, one.tolerance, one.queue = one[2], one[3], one[4]
    one.reservable = true
    one.bearable = one.queue > 0 and ceil((one.queue - one.interval) / 1000) or patience
  end,
  wait = function(one, amount)
    local over = one.debt + amount * one.interval
    if one.queue == 0 then return max(0, ceil((over - one.tolerance) / 1000)) end
    if over > one.queue then return one.bearable + ceil((over - one.queue) / 1000) end
    return ceil(one.debt / 1000)
  end,
  take = function(one, delay)
    -- The delay was rounded up to a whole microsecond, perhaps of this very debt.
    one.debt = max(one.debt, delay * 1000 - 999) + cost * one.interval
    one.debt = min(one.debt, max(one.tolerance, 316224e12))
  end,
  give = function(one) one.debt = max(0, one.debt - cost * one.interval) end,
  left = function(one)
    return floor(max(0, (one.queue > 0 and one.queue or one.tolerance) - one.debt) / one.interval)
  end,
  full = function(one) return ceil(one.debt / 1000) end,
  save = function(one) save(one.key, {now, one.debt}, kinds.moment.full(one)) end,
}

--- bucket
-- quota, refill, every; state: used, since
kinds.bucket = {
  load = function(one)
    local state = load(one.key)
    one.refill, one.every, one.reservable, one.bearable = one[2], one[3], true, patience
    one.used, one.since = state and state[1] or 0, state and state[2] or now
    local fills = max(0, floor((now - one.since) / one.every))
    one.used = max(0, one.used - fills * one.refill)
    one.since = one.used > 0 and one.since + fills * one.every or now
  end,
  wait = function(one, amount)
    local short = one.used + amount - one.quota
    return max(0, one.since - now + max(0, ceil(short / one.refill)) * one.every)
  end,
  take = function(one, delay)
    local at = now + delay
    local fills = max(0, floor((at - one.since) / one.every))
    one.used = max(0, one.used - fills * one.refill)
    one.since = one.used > 0 and one.since + fills * one.every or at
    one.used = min(one.used + cost, 2 ^ 53)
  end,
  give = function(one) one.used = max(0, one.used - cost) end,
  left = function(one) return one.since > now and 0 or max(0, one.quota - one.used) end,
  full = function(one)
    return one.used > 0 and one.since + ceil(one.used / one.refill) * one.every - now or 0
  end,
  save = function(one) save(one.key, {one.used, one.since}, kinds.bucket.full(one)) end,
}

--- window
-- quota, period, and for a calendar the edges of its windows; state: begin, end, used
kinds.window = {
  load = function(one)
    local state = load(one.key)
    one.begin, one.finish, one.used = 0, 0, 0
    if state and 2 * state[1] - state[2] <= now and now < state[2] then
      one.begin, one.finish, one.used = state[1], state[2], state[3]
    elseif #one == 2 then
      one.begin = now - now % one[2]
      one.finish = one.begin + one[2]
    else
      for place = 3, #one - 1 do
        if one[place] <= now and now < one[place + 1] then
          one.begin, one.finish = one[place], one[place + 1]
        end
      end
    end
    one.bearable = 0
    return one.finish > 0
  end,
  wait = function(one, amount)
    return one.used + amount <= one.quota and 0 or one.finish - now
  end,
  take = function(one) one.used = min(one.used + cost, 2 ^ 53) end,
  give = function(one, taken)
    if taken >= one.begin then one.used = max(0, one.used - cost) end
  end,
  left = function(one) return max(0, one.quota - one.used) end,
  full = function(one) return one.used > 0 and one.finish - now or 0 end,
  save = function(one)
    save(one.key, {one.begin, one.finish, one.used}, kinds.window.full(one))
  end,
}

--- counter
-- quota, period; state: begin, present, previous
local function fades(one, previous, room)
  return previous <= room and 0 or one.period - floor(room * one.period / previous)
end

kinds.counter = {
  load = function(one)
    local state = load(one.key)
    one.period, one.bearable = one[2], 0
    one.begin, one.present, one.previous = now, 0, 0
    if not state then return end
    local past = floor((now - state[1]) / one.period)
    if past <= 0 and state[2] + state[3] > 0 then
      one.begin, one.present, one.previous = state[1], state[2], state[3]
    elseif past == 1 and state[2] > 0 then
      one.begin, one.previous = state[1] + one.period, state[2]
    end
  end,
  wait = function(one, amount)
    local room = one.quota - amount - one.present
    if room >= one.previous then return 0 end
    local elapsed = now - one.begin
    if room >= 0 then return max(0, fades(one, one.previous, room) - elapsed) end
    return max(0, one.period + fades(one, one.present, one.quota - amount) - elapsed)
  end,
  take = function(one) one.present = min(one.present + cost, 2 ^ 53) end,
  give = function(one, taken)
    if taken >= one.begin then
      one.present = max(0, one.present - cost)
    elseif taken >= one.begin - one.period then
      one.previous = max(0, one.previous - cost)
    end
  end,
  left = function(one)
    local fading = one.previous * (one.period - max(0, now - one.begin))
    return max(0, one.quota - one.present - ceil(fading / one.period))
  end,
  full = function(one)
    local periods = one.present > 0 and 2 or one.previous > 0 and 1 or 0
    return periods > 0 and one.begin + periods * one.period - now or 0
  end,
  save = function(one)
    save(one.key, {one.begin, one.present, one.previous}, kinds.counter.full(one))
  end,
}

--- log
-- quota, period; state: a list of moments, the oldest first
kinds.log = {
  load = function(one)
    one.period, one.bearable = one[2], 0
    while true do
      local oldest = redis.call('LINDEX', one.key, 0)
      if not oldest or tonumber(oldest) > now - one.period then break end
      redis.call('LPOP', one.key)
    end
    one.length = redis.call('LLEN', one.key)
  end,
  wait = function(one, amount)
    local place = one.length + amount - one.quota - 1
    if place < 0 or amount == 0 then return 0 end
    return tonumber(redis.call('LINDEX', one.key, place)) + one.period - now
  end,
  take = function(one, delay)
    local amount = min(cost, one.quota)
    local newest = redis.call('LINDEX', one.key, -1)
    local at = max(now + delay, newest and tonumber(newest) or 0)
    for _ = 1, amount do redis.call('RPUSH', one.key, string.format('%.0f', at)) end
    redis.call('LTRIM', one.key, -one.quota, -1)
    one.length = min(one.quota, one.length + amount)
  end,
  give = function(one)
    for _ = 1, min(cost, one.length) do redis.call('RPOP', one.key) end
    one.length = max(0, one.length - cost)
  end,
  left = function(one) return one.quota - one.length end,
  full = function(one)
    local newest = redis.call('LINDEX', one.key, -1)
    return newest and max(0, tonumber(newest) + one.period - now) or 0
  end,
  save = function(one)
    expire(one.key, kinds.log.full(one))
  end,
}

--- work
-- Puts *count* members into the sorted set *key* that end *at*; several may end at one time.
local function occupy(key, at, count, prefix)
  local ends = string.format('%.0f', at)
  local number, added = 0, 0
  while added < count do
    added = added + redis.call('ZADD', key, 'NX', ends, prefix .. ends .. ':' .. number)
    number = number + 1
  end
end

-- quota, hold, gap (kept free after an answer); state: a sorted set of when each place is given up
kinds.work = {
  load = function(one)
    one.hold, one.bearable = one[2], 0
    redis.call('ZREMRANGEBYSCORE', one.key, '-inf', string.format('%.0f', now))
    one.busy = redis.call('ZCARD', one.key)
  end,
  wait = function(one, amount)
    local short = one.busy + amount - one.quota
    if short <= 0 then return 0 end
    return tonumber(redis.call('ZRANGE', one.key, short - 1, short - 1, 'WITHSCORES')[2]) - now
  end,
  take = function(one, delay)
    local free = min(cost, one.quota - one.busy)
    occupy(one.key, now + delay + one.hold, free, '')
    one.busy = one.busy + free
  end,
  give = function(one, taken)
    local ends = string.format('%.0f', taken + one.hold)
    local found = redis.call('ZRANGEBYSCORE', one.key, ends, ends, 'LIMIT', 0, cost)
    for _, member in ipairs(found) do
      redis.call('ZREM', one.key, member)
      if one[3] > 0 then occupy(one.key, now + one[3], 1, 'a') end
    end
    if one[3] == 0 then one.busy = one.busy - #found end
  end,
  left = function(one) return max(0, one.quota - one.busy) end,
  full = function(one)
    local last = redis.call('ZRANGE', one.key, -1, -1, 'WITHSCORES')
    return last[2] and tonumber(last[2]) - now or 0
  end,
  save = function(one)
    expire(one.key, kinds.work.full(one))
  end,
}

--- all
local limits, place = {}, 5
for number, key in ipairs(KEYS) do
  local one = {key = key, kind = kinds[ARGV[place]]}
  one.reserved, one.taken = tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])
  local count = tonumber(ARGV[place + 3])
  for offset = 1, count do one[offset] = tonumber(ARGV[place + 3 + offset]) end
  place = place + 4 + count
  one.quota = one[1]
  if one.kind.load(one) == false then return {-2, string.format('%.0f', now)} end
  limits[number] = one
end

local brief = what == 'ask'
if brief then what = 'decide' end
local delay, retry, refused, never = 0, 0, 0, 0
for number, one in ipairs(limits) do
  local amount = what == 'decide' and cost + one.reserved or 0
  one.waits = 0
  if amount > one.quota then
    one.waits = NEVER
    if never == 0 then never = number end
  elseif what == 'decide' then
    one.waits = one.kind.wait(one, amount)
    if one.waits > 0 and not (one.reservable and one.waits <= one.bearable) then
      local bearable = one.reservable and one.bearable or 0
      if one.waits - bearable > retry then retry, refused = one.waits - bearable, number end
    else
      delay = max(delay, one.waits)
    end
  end
end
if never > 0 then retry, refused = NEVER, never end

if refused == 0 then
  for _, one in ipairs(limits) do
    if what == 'give' then
      if one.taken > 0 then one.kind.give(one, one.taken) end
    elseif cost > 0 then
      one.kind.take(one, one.reservable and delay or 0)
    end
    if cost > 0 then one.kind.save(one) end
  end
else
  delay = 0
end

if brief and refused == 0 then return 0 end
local reply = {refused, string.format('%.0f', now), delay, retry}
for _, one in ipairs(limits) do
  reply[#reply + 1] = one.kind.left(one)
  reply[#reply + 1] = one.kind.full(one)
  reply[#reply + 1] = one.waits
end
return reply
