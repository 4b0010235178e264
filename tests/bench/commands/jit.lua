-- Work for a just-in-time compiler, ROUNDS times: hot loops, types that change after compilation, recursion, closures,
-- coroutines, strings, metatables, code made from text and dropped again. Prints results only.
local rounds = tonumber(arg[1])
local bit = require("bit")

local function mix(sum, value)
    return bit.tobit(bit.bxor(bit.rol(sum, 5), value) * 3 + 1)
end

-- A hot loop in which the type of the values changes half-way: traces are left and side traces made.
local function unstable(count, turn)
    local sum = 0
    for i = 1, count do
        local value = i < turn and i or i + 0.5
        if i % 1000 == 999 then value = tostring(value) + 0 end
        sum = sum + value * 2 % 7
    end
    return sum
end

local function fibonacci(n)
    if n < 2 then return n end
    return fibonacci(n - 1) + fibonacci(n - 2)
end

local Point = {}
Point.__index = Point
Point.__add = function(a, b) return setmetatable({x = a.x + b.x, y = a.y - b.y}, Point) end
function Point:length() return self.x * self.x + self.y * self.y end

local function points(count)
    local sum = setmetatable({x = 0, y = 0}, Point)
    for i = 1, count do
        sum = sum + setmetatable({x = i % 5, y = i % 3}, Point)
    end
    return sum:length()
end

local function sieve(limit)
    local composite, count = {}, 0
    for i = 2, limit do
        if not composite[i] then
            count = count + 1
            for k = i * i, limit, i do composite[k] = true end
        end
    end
    return count
end

local function strings(count)
    local parts = {}
    for i = 1, count do parts[#parts + 1] = ("%d:%s"):format(i, ("ab"):rep(i % 4)) end
    local text = table.concat(parts, ",")
    return #text + select(2, text:gsub("ab", "c")) + text:byte(#text / 2)
end

local function generators(count)
    local sum = 0
    local wrapped = coroutine.wrap(function()
        for i = 1, count do coroutine.yield(i * i) end
        return 0
    end)
    for _ = 1, count do sum = sum + wrapped() end
    return sum
end

-- New functions all the time, each hot for a moment: the compiler's code memory fills, is flushed and used again.
local function made(seed)
    local sum = 0
    for k = 1, 12 do
        local source = ("local s = ... for i = 1, 300 do s = (s * %d + i) %% %d end return s"):format(
            seed % 97 + k, 10007 + seed * k)
        sum = sum + loadstring(source)(k)
    end
    return sum
end

local function bits(count)
    local value = 0x12345678
    for i = 1, count do
        value = bit.bxor(bit.lshift(value, 3), bit.rshift(value, 5), bit.tobit(i * 2654435))
        if bit.band(value, 7) == 3 then value = bit.bnot(value) end
    end
    return value
end

local sum = 0
for round = 1, rounds do
    local results = {
        unstable(20000, 5000 + round * 311 % 10000), fibonacci(18 + round % 3), points(3000), sieve(3000),
        strings(400), generators(500), made(round), bits(20000),
    }
    for _, value in ipairs(results) do sum = mix(sum, math.floor(value * 8)) end
    print(round, sum, unpack(results))
    if round % 5 == 0 then
        if jit then jit.flush() end
        collectgarbage()
    end
end
