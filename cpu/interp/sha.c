/*
 * SHA-1 and SHA-256 (FIPS 180-4). Intel SDM volume 1, section 5.20.
 *
 * Words stand in the registers with the first one uppermost: u32[3] is A or W0 of SHA-1.
 */
#include "cpu/interp/simd.h"

INLINE uint32_t rotate_left(uint32_t value, unsigned count)
{
    return value << count | value >> (32 - count);
}

INLINE uint32_t rotate_right(uint32_t value, unsigned count)
{
    return value >> count | value << (32 - count);
}

INLINE uint32_t choose(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) ^ (~x & z);
}

INLINE uint32_t majority(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) ^ (x & z) ^ (y & z);
}

/* -- SHA-1 -- */

/* Four rounds of the kind `imm`. E is in the first word of b already. */
INLINE union xmm sha1rnds4(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    static const uint32_t constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32_t v[5] = {a.u32[3], a.u32[2], a.u32[1], a.u32[0], 0};
    for (unsigned i = 0; i < 4; i++) {
        uint32_t f = (imm & 3) == 0   ? choose(v[1], v[2], v[3])
                     : (imm & 3) == 2 ? majority(v[1], v[2], v[3])
                                      : v[1] ^ v[2] ^ v[3];
        uint32_t next = f + rotate_left(v[0], 5) + b.u32[3 - i] + v[4] + constants[imm & 3];
        v[4] = v[3];
        v[3] = v[2];
        v[2] = rotate_left(v[1], 30);
        v[1] = v[0];
        v[0] = next;
    }
    return (union xmm){.u32 = {v[3], v[2], v[1], v[0]}};
}

INLINE union xmm sha1nexte(union xmm a, union xmm b, unsigned bytes)
{
    b.u32[3] += rotate_left(a.u32[3], 30);
    return b;
}

INLINE union xmm sha1msg1(union xmm a, union xmm b, unsigned bytes)
{
    return (union xmm){.u64 = {a.u64[0] ^ b.u64[1], a.u64[1] ^ a.u64[0]}};
}

INLINE union xmm sha1msg2(union xmm a, union xmm b, unsigned bytes)
{
    union xmm result;
    result.u32[3] = rotate_left(a.u32[3] ^ b.u32[2], 1);
    result.u32[2] = rotate_left(a.u32[2] ^ b.u32[1], 1);
    result.u32[1] = rotate_left(a.u32[1] ^ b.u32[0], 1);
    result.u32[0] = rotate_left(a.u32[0] ^ result.u32[3], 1);
    return result;
}

EXEC_SSE(SHA1RNDS4, vector_binary_imm, sha1rnds4, 0)
EXEC_SSE(SHA1NEXTE, vector_binary, sha1nexte)
EXEC_SSE(SHA1MSG1, vector_binary, sha1msg1)
EXEC_SSE(SHA1MSG2, vector_binary, sha1msg2)

/* -- SHA-256 -- */

INLINE uint32_t small_sigma0(uint32_t x)
{
    return rotate_right(x, 7) ^ rotate_right(x, 18) ^ x >> 3;
}

INLINE uint32_t small_sigma1(uint32_t x)
{
    return rotate_right(x, 17) ^ rotate_right(x, 19) ^ x >> 10;
}

/* Two rounds: a has C D G H, b has A B E F, XMM0 the message words plus constants. */
INLINE void sha256rnds2(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    union xmm y = xmm_operand(cpu, insn, 1, mem, form);
    union xmm x = xmm_get(cpu, insn->operand[0].reg), words = xmm_get(cpu, 0);
    uint32_t a = y.u32[3], b = y.u32[2], c = x.u32[3], d = x.u32[2];
    uint32_t e = y.u32[1], f = y.u32[0], g = x.u32[1], h = x.u32[0];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t sigma1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        uint32_t sigma0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        uint32_t t1 = h + sigma1 + choose(e, f, g) + words.u32[i];
        uint32_t t2 = sigma0 + majority(a, b, c);
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    xmm_set(cpu, insn->operand[0].reg, (union xmm){.u32 = {f, e, b, a}});
}

INLINE union xmm sha256msg1(union xmm a, union xmm b, unsigned bytes)
{
    return (union xmm){.u32 = {a.u32[0] + small_sigma0(a.u32[1]), a.u32[1] + small_sigma0(a.u32[2]),
                               a.u32[2] + small_sigma0(a.u32[3]),
                               a.u32[3] + small_sigma0(b.u32[0])}};
}

INLINE union xmm sha256msg2(union xmm a, union xmm b, unsigned bytes)
{
    union xmm result;
    result.u32[0] = a.u32[0] + small_sigma1(b.u32[2]);
    result.u32[1] = a.u32[1] + small_sigma1(b.u32[3]);
    result.u32[2] = a.u32[2] + small_sigma1(result.u32[0]);
    result.u32[3] = a.u32[3] + small_sigma1(result.u32[1]);
    return result;
}

EXEC_SSE(SHA256RNDS2, sha256rnds2)
EXEC_SSE(SHA256MSG1, vector_binary, sha256msg1)
EXEC_SSE(SHA256MSG2, vector_binary, sha256msg2)
