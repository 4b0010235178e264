/* Tables behind flags.h, both written out by the preprocessor from the definition of one entry. */
#include "cpu/interp/flags.h"

#define TIMES4(entry, n) entry(n), entry((n) + 1), entry((n) + 2), entry((n) + 3)
#define TIMES16(entry, n)                                                                          \
    TIMES4(entry, n), TIMES4(entry, (n) + 4), TIMES4(entry, (n) + 8), TIMES4(entry, (n) + 12)
#define TIMES64(entry, n)                                                                          \
    TIMES16(entry, n), TIMES16(entry, (n) + 16), TIMES16(entry, (n) + 32), TIMES16(entry, (n) + 48)
#define TIMES256(entry)                                                                            \
    TIMES64(entry, 0), TIMES64(entry, 64), TIMES64(entry, 128), TIMES64(entry, 192)

#define PARITY(n) (__builtin_parity(n) ? 0 : FLAG_PF)
const uint8_t flags_parity[256] = {TIMES256(PARITY)};

/* Conditions come in pairs: the even one holds if `test`, the odd one if not. */
#define PAIR(number, test) ((test) ? 1u << (number) : 2u << (number))
#define CF(n)              ((n)&1)
#define OF(n)              ((n) >> 1 & 1)
#define PF(n)              ((n) >> 2 & 1)
#define ZF(n)              ((n) >> 6 & 1)
#define SF(n)              ((n) >> 7 & 1)
#define CONDITIONS(n)                                                                              \
    (PAIR(0x0, OF(n)) | PAIR(0x2, CF(n)) | PAIR(0x4, ZF(n)) | PAIR(0x6, CF(n) | ZF(n)) |           \
     PAIR(0x8, SF(n)) | PAIR(0xa, PF(n)) | PAIR(0xc, SF(n) ^ OF(n)) |                              \
     PAIR(0xe, ZF(n) | (SF(n) ^ OF(n))))

const uint16_t flags_condition[256] = {TIMES256(CONDITIONS)};
