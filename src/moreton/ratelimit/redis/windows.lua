-- As decide.lua does, for fixed windows alone: shorter, as these are what else there is much.
--
-- KEYS  the state of each limit: its beginning, its end, what is used
-- ARGV  the cost, the time in us (0: the server's), whether nobody wants to know why it was allowed,
--       and for each limit: what stays for others, the quota, and the period in us

local cost, now, brief = ARGV[1] + 0, ARGV[2] + 0, ARGV[3] == '1'
local own_time = now == 0
if own_time then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local ends, uses, begins, waits = {}, {}, {}, {}
local retry, refused, never = 0, 0, 0

for number, key in ipairs(KEYS) do
  local place = 3 * number + 1
  local amount, quota, period = cost + ARGV[place], ARGV[place + 1] + 0, ARGV[place + 2] + 0
  local begin = now - now % period
  local finish, used = begin + period, 0
  local found = redis.call('GET', key)
  if found then
    local state = cmsgpack.unpack(found)
    -- A clock that was set back a little keeps the window it was in.
    if 2 * state[1] - state[2] <= now and now < state[2] then
      begin, finish, used = state[1], state[2], state[3]
    end
  end
  local wait = 0
  if amount > quota then
    wait = -1
    if never == 0 then never = number end
  elseif used + amount > quota then
    wait = finish - now
    if wait > retry then retry, refused = wait, number end
  end
  begins[number], ends[number], uses[number], waits[number] = begin, finish, used, wait
end
if never > 0 then retry, refused = -1, never end

if refused == 0 and cost > 0 then
  for number, key in ipairs(KEYS) do
    local used, finish = math.min(uses[number] + cost, 2 ^ 53), ends[number]
    uses[number] = used
    local state = cmsgpack.pack({begins[number], finish, used})
    if own_time then
      redis.call('SET', key, state, 'PX', math.ceil((finish - now) / 1000))
    else
      redis.call('SET', key, state)
    end
  end
end
if brief and refused == 0 then return 0 end

local reply = {refused, now, 0, retry}
for number, used in ipairs(uses) do
  local place = 3 * number
  reply[place + 2] = math.max(0, ARGV[place + 2] - used)
  reply[place + 3] = used > 0 and ends[number] - now or 0
  reply[place + 4] = waits[number]
end
return reply
