"""Floating point as Python and the C library do it, bit by bit: one checksum a function, over many arguments."""

import cmath
import decimal
import hashlib
import math
import random
import struct

random.seed(1)
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, math.inf, -math.inf,
         math.nan, math.pi, 1e-10, 1e22, 2.0**53 + 1, 0.1]
ARGUMENTS = EDGES + [random.uniform(-1, 1) * 10 ** random.randint(-20, 20) for _ in range(3000)]
SMALL = EDGES + [random.uniform(-700, 700) for _ in range(3000)]


def bits(function, *arguments):
    """The result's bits, or the name of the exception."""
    try:
        return struct.pack('<d', function(*arguments)).hex()
    except (ValueError, OverflowError) as error:
        return type(error).__name__


def tell(name, results):
    print(name, hashlib.sha256('\n'.join(results).encode()).hexdigest()[:16])


for name in ('sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp exp2 expm1 log log2 log10 log1p sqrt cbrt '
             'gamma lgamma erf erfc').split():
    function = getattr(math, name)
    tell(name, [bits(function, x) for x in ARGUMENTS + SMALL])
for name in 'pow atan2 fmod remainder hypot copysign nextafter'.split():
    function = getattr(math, name)
    tell(name, [bits(function, x, y) for x, y in zip(SMALL, reversed(SMALL))])
for name in 'exp log sqrt sin tan acosh'.split():
    function = getattr(cmath, name)
    results = []
    for x, y in zip(SMALL, ARGUMENTS):
        try:
            result = function(complex(x, y))
            results.append(struct.pack('<dd', result.real, result.imag).hex())
        except (ValueError, OverflowError) as error:
            results.append(type(error).__name__)
    tell('complex ' + name, results)
tell('repr', [repr(x) for x in ARGUMENTS])
tell('single', [struct.pack('<f', x).hex() for x in SMALL])
tell('half', [struct.pack('<e', x).hex() if abs(x) < 65000 else '' for x in SMALL])
tell('sum', [bits(math.fsum, ARGUMENTS[20:]), bits(sum, ARGUMENTS[20:])])
decimal.getcontext().prec = 200
tell('decimal', [str(decimal.Decimal(n).sqrt() + decimal.Decimal(n).ln()) for n in range(1, 60)])
tell('integers', [str(pow(3, n, 2**521 - 1) * n**37 // 7) for n in range(1, 2000)])
