-- As decide.lua does, for limits of one moment each alone: shorter, as most limits are.
--
-- KEYS  the state of each limit
-- ARGV  the cost, the patience in us, the time in us (0: the server's), whether nobody wants to know
--       why it was allowed, and for each limit: what stays for others, the quota, the interval, the
--       tolerance and the queue (all of it in ns)

local cost, patience, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local own_time = now == 0
if own_time then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local ceil, floor, max = math.ceil, math.floor, math.max
local debts, intervals, wholes, waits = {}, {}, {}, {}
local delay, retry, refused, never = 0, 0, 0, 0

for number, key in ipairs(KEYS) do
  local place = 5 * number
  local amount = cost + tonumber(ARGV[place])
  local interval, queue = tonumber(ARGV[place + 2]), tonumber(ARGV[place + 4])
  local whole = queue > 0 and queue or tonumber(ARGV[place + 3])
  local found, debt = redis.call('GET', key), 0
  if found then
    local state = cmsgpack.unpack(found)
    debt = max(0, state[2] - (now - state[1]) * 1000)
  end
  local over, wait, bearable = debt + amount * interval - whole, 0, patience
  if amount > tonumber(ARGV[place + 1]) then
    wait = -1
    if never == 0 then never = number end
  else
    if queue > 0 then
      bearable = ceil((queue - interval) / 1000)
      wait = over > 0 and bearable + ceil(over / 1000) or ceil(debt / 1000)
    elseif over > 0 then
      wait = ceil(over / 1000)
    end
    if wait <= bearable then
      delay = max(delay, wait)
    elseif wait - bearable > retry then
      retry, refused = wait - bearable, number
    end
  end
  debts[number], intervals[number], wholes[number], waits[number] = debt, interval, whole, wait
end
if never > 0 then retry, refused = -1, never end
if refused > 0 then delay = 0 end

local brief = refused == 0 and ARGV[4] == '1'
local reply = brief and 0 or {refused, now, delay, retry}
for number, key in ipairs(KEYS) do
  local debt, place = debts[number], 3 * number
  if refused == 0 and cost > 0 then
    -- The delay was rounded up to a whole microsecond, perhaps of this very debt.
    debt = max(debt, delay * 1000 - 999) + cost * intervals[number]
    local state = cmsgpack.pack({now, debt})
    if own_time then
      redis.call('SET', key, state, 'PX', ceil(debt / 1000000))
    else
      redis.call('SET', key, state)
    end
  end
  if not brief then
    reply[place + 2] = floor(max(0, wholes[number] - debt) / intervals[number])
    reply[place + 3] = ceil(debt / 1000)
    reply[place + 4] = waits[number]
  end
end
return reply
