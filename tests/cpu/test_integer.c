/* Integer instructions at their edges, executed as bytes through decode() and the semantic
 * functions. */
#include "tests/cpu/modes.h"

#include "cpu/decode.h"

#include <check.h>

enum { CODE = 0x1000, DATA = 0x20000, RAM = 4 << 20 };

static struct board *board;
static struct cpu *cpu;

#define R(name) cpu->gpr[R##name]
#define ARITH   (cpu->eflags & FLAG_ARITH)
enum { CF = FLAG_CF, PF = FLAG_PF, AF = FLAG_AF, ZF = FLAG_ZF, SF = FLAG_SF, OF = FLAG_OF };

static void setup(void)
{
    board = board_new(RAM, "default", &accel_interpreter);
    cpu = board->cpu;
}

static void teardown(void)
{
    board_free(board);
}

/* Executes one instruction; -1, or the vector that it raised. */
static int execute(const void *code, unsigned length)
{
    struct decode_context context = decode_context(cpu);
    static struct insn insn;
    uint8_t bytes[INSN_MAX_LENGTH] = {0};

    memcpy(bytes, code, length);
    ck_assert_int_eq(decode(&context, bytes, sizeof bytes, &insn), (int)length);
    cpu->insn = &insn;
    cpu->next_rip = cpu->rip + insn.length;
    if (sigsetjmp(cpu->unwind, 0)) {
        int vector = cpu->raised.vector;
        cpu->raised.vector = -1;
        cpu->insn = NULL;
        return vector;
    }
    insn.exec(cpu, &insn);
    cpu->rip = cpu->next_rip;
    cpu->insn = NULL;
    return -1;
}
#define X(bytes)              execute(bytes, sizeof(bytes) - 1)
#define RUN(bytes)            ck_assert_int_eq(X(bytes), -1)
#define FAULTS(vector, bytes) ck_assert_int_eq(X(bytes), vector)

static void mode(unsigned bits)
{
    board_set_mode(board, bits);
}

static void flags(uint32_t value)
{
    cpu->eflags = (cpu->eflags & ~(uint32_t)FLAG_ARITH) | value;
}

static uint64_t load(gpa_t gpa, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, board->ram + gpa, size);
    return value;
}

static void store(gpa_t gpa, uint64_t value, unsigned size)
{
    memcpy(board->ram + gpa, &value, size);
}

/* -- Registers -- */

START_TEST(partial_writes)
{
    mode(64);
    R(AX) = 0x1122334455667788;
    RUN("\xb0\xff"); /* mov al, 0xff */
    ck_assert_uint_eq(R(AX), 0x11223344556677ff);
    RUN("\xb4\x00"); /* mov ah, 0 */
    ck_assert_uint_eq(R(AX), 0x11223344556600ff);
    RUN("\x66\xb8\x34\x12"); /* mov ax, 0x1234 */
    ck_assert_uint_eq(R(AX), 0x1122334455661234);
    RUN("\x89\xc0"); /* mov eax, eax */
    ck_assert_uint_eq(R(AX), 0x55661234);
    RUN("\x48\xc7\xc0\xff\xff\xff\xff"); /* mov rax, -1 */
    ck_assert_uint_eq(R(AX), ~0ull);
    R(SP) = 0x1122;
    RUN("\x40\x88\xe0"); /* mov al, spl */
    ck_assert_uint_eq(R(AX), 0xffffffffffffff22);
    R(BX) = 0xabcd;
    RUN("\x88\xfc"); /* mov ah, bh */
    ck_assert_uint_eq(R(AX), 0xffffffffffffab22);
    RUN("\x86\xdf"); /* xchg bh, bl */
    ck_assert_uint_eq(R(BX), 0xcdab);
}
END_TEST

START_TEST(extensions)
{
    mode(64);
    R(CX) = 0x80f0;
    RUN("\x0f\xbe\xc1"); /* movsx eax, cl */
    ck_assert_uint_eq(R(AX), 0xfffffff0);
    RUN("\x48\x0f\xbf\xc1"); /* movsx rax, cx */
    ck_assert_uint_eq(R(AX), 0xffffffffffff80f0);
    RUN("\x0f\xb6\xc5"); /* movzx eax, ch */
    ck_assert_uint_eq(R(AX), 0x80);
    R(CX) = 0x80000000;
    RUN("\x48\x63\xc1"); /* movsxd rax, ecx */
    ck_assert_uint_eq(R(AX), 0xffffffff80000000);
    RUN("\x48\x99"); /* cqo */
    ck_assert_uint_eq(R(DX), ~0ull);
    RUN("\x99"); /* cdq */
    ck_assert_uint_eq(R(DX), 0xffffffff);
    R(AX) = 0x7f;
    RUN("\x66\x98"); /* cbw */
    RUN("\x98");     /* cwde */
    ck_assert_uint_eq(R(AX), 0x7f);
    R(DX) = 0x1122334455667788;
    RUN("\x0f\xca"); /* bswap edx */
    ck_assert_uint_eq(R(DX), 0x88776655);
    R(SI) = DATA;
    store(DATA, 0x1122, 2);
    RUN("\x66\x0f\x38\xf0\x06"); /* movbe ax, [rsi] */
    ck_assert_uint_eq(R(AX) & 0xffff, 0x2211);
}
END_TEST

START_TEST(conditional_moves)
{
    mode(64);
    R(AX) = ~0ull;
    R(CX) = 5;
    flags(0);
    RUN("\x0f\x44\xc1"); /* cmovz eax, ecx: not taken, still zero-extends */
    ck_assert_uint_eq(R(AX), 0xffffffff);
    flags(ZF);
    RUN("\x48\x0f\x44\xc1");
    ck_assert_uint_eq(R(AX), 5);
    flags(SF);
    RUN("\x0f\x9c\xc4"); /* setl ah */
    ck_assert_uint_eq(R(AX), 0x105);
    flags(SF | OF);
    RUN("\x0f\x9c\xc4");
    ck_assert_uint_eq(R(AX), 0x005);
    flags(CF);
    RUN("\x0f\x96\xc0"); /* setbe al */
    ck_assert_uint_eq(R(AX), 0x001);
}
END_TEST

/* -- Arithmetic -- */

START_TEST(addition)
{
    mode(64);
    R(AX) = 0x7f;
    RUN("\x04\x01"); /* add al, 1 */
    ck_assert_uint_eq(R(AX), 0x80);
    ck_assert_uint_eq(ARITH, OF | SF | AF);
    R(AX) = 0xffffffff;
    RUN("\x83\xc0\x01"); /* add eax, 1 */
    ck_assert_uint_eq(R(AX), 0);
    ck_assert_uint_eq(ARITH, CF | ZF | AF | PF);
    R(AX) = 0x8000000000000000;
    R(CX) = R(AX);
    RUN("\x48\x01\xc8"); /* add rax, rcx */
    ck_assert_uint_eq(ARITH, CF | ZF | PF | OF);
    R(AX) = ~0ull;
    R(CX) = ~0ull;
    flags(CF);
    RUN("\x48\x11\xc8"); /* adc rax, rcx: -1 + -1 + 1 */
    ck_assert_uint_eq(R(AX), ~0ull);
    ck_assert_uint_eq(ARITH, CF | SF | AF | PF);
}
END_TEST

START_TEST(subtraction)
{
    mode(64);
    R(AX) = 0;
    flags(CF);
    RUN("\x66\x83\xd8\xff"); /* sbb ax, -1: 0 - 0xffff - 1 */
    ck_assert_uint_eq(R(AX), 0);
    ck_assert_uint_eq(ARITH, CF | ZF | AF | PF);
    R(AX) = 0x80;
    RUN("\x2c\x01"); /* sub al, 1 */
    ck_assert_uint_eq(R(AX), 0x7f);
    ck_assert_uint_eq(ARITH, OF | AF);
    R(AX) = 0x80000000;
    RUN("\xf7\xd8"); /* neg eax */
    ck_assert_uint_eq(R(AX), 0x80000000);
    ck_assert_uint_eq(ARITH, CF | OF | SF | PF);
    R(AX) = 0;
    RUN("\xf7\xd8");
    ck_assert_uint_eq(ARITH, ZF | PF);
    flags(CF);
    R(AX) = 0x7fffffff;
    RUN("\xff\xc0"); /* inc eax keeps CF */
    ck_assert_uint_eq(ARITH, CF | OF | SF | AF | PF);
    flags(0);
    R(AX) = 0;
    RUN("\xfe\xc8"); /* dec al */
    ck_assert_uint_eq(ARITH, SF | AF | PF);
}
END_TEST

START_TEST(exchanges)
{
    mode(64);
    R(AX) = 3;
    RUN("\x48\x0f\xc1\xc0"); /* xadd rax, rax */
    ck_assert_uint_eq(R(AX), 6);
    R(AX) = 0xffffffff00000001;
    R(DX) = 0xaaaaaaaa00000002;
    R(CX) = 9;
    RUN("\x0f\xb1\xca"); /* cmpxchg edx, ecx: not equal */
    ck_assert_uint_eq(R(AX), 2);
    ck_assert_uint_eq(R(DX), 0xaaaaaaaa00000002);
    ck_assert(!(ARITH & ZF));
    R(AX) = 0xffffffff00000002;
    RUN("\x0f\xb1\xca"); /* equal: EDX written, RAX left whole */
    ck_assert_uint_eq(R(DX), 9);
    ck_assert_uint_eq(R(AX), 0xffffffff00000002);
    ck_assert(ARITH & ZF);

    R(SI) = DATA;
    store(DATA, 0x1111111122222222, 8);
    R(DX) = 0x11111111;
    R(AX) = 0x22222222;
    R(CX) = 3;
    R(BX) = 4;
    RUN("\xf0\x0f\xc7\x0e"); /* lock cmpxchg8b [rsi] */
    ck_assert_uint_eq(load(DATA, 8), 0x300000004);
    ck_assert(ARITH & ZF);
    R(DX) = R(AX) = 0;
    RUN("\xf0\x48\x0f\xc7\x0e"); /* lock cmpxchg16b [rsi]: not equal */
    ck_assert_uint_eq(R(AX), 0x300000004);
    ck_assert(!(ARITH & ZF));
    RUN("\xf0\x48\x0f\xc7\x0e");
    ck_assert_uint_eq(load(DATA, 8), 4);
    ck_assert_uint_eq(load(DATA + 8, 8), 3);
    R(SI) = DATA + 8;
    FAULTS(EXC_GP, "\xf0\x48\x0f\xc7\x0e"); /* misaligned */
}
END_TEST

START_TEST(locked)
{
    mode(64);
    store(DATA, 0x00ff, 8);
    R(SI) = DATA;
    R(CX) = 1;
    RUN("\xf0\x66\x01\x0e"); /* lock add [rsi], cx */
    ck_assert_uint_eq(load(DATA, 8), 0x100);
    RUN("\xf0\xfe\x06");             /* lock inc byte [rsi] */
    RUN("\xf0\x48\x0f\xba\x2e\x3f"); /* lock bts qword [rsi], 63 */
    ck_assert_uint_eq(load(DATA, 8), 0x8000000000000101);
    ck_assert(!(ARITH & CF));
    R(CX) = 0x55;
    RUN("\x48\x87\x0e"); /* xchg [rsi], rcx */
    ck_assert_uint_eq(load(DATA, 8), 0x55);
    ck_assert_uint_eq(R(CX), 0x8000000000000101);

    /* Across a page: the split path. */
    R(SI) = DATA + 0xffd;
    store(DATA + 0xffd, 0x00000000ffffffff, 8);
    R(CX) = 1;
    RUN("\xf0\x48\x01\x0e");
    ck_assert_uint_eq(load(DATA + 0xffd, 8), 0x100000000);
    RUN("\xf0\x48\x0f\xc1\x0e"); /* lock xadd */
    ck_assert_uint_eq(R(CX), 0x100000000);
    ck_assert_uint_eq(load(DATA + 0xffd, 8), 0x100000001);
    FAULTS(EXC_UD, "\xf0\x01\xc8"); /* lock add eax, ecx */
}
END_TEST

START_TEST(products)
{
    mode(64);
    R(AX) = ~0ull;
    R(CX) = ~0ull;
    RUN("\x48\xf7\xe1"); /* mul rcx */
    ck_assert_uint_eq(R(AX), 1);
    ck_assert_uint_eq(R(DX), ~0ull - 1);
    ck_assert_uint_eq(ARITH & (CF | OF), CF | OF);
    R(AX) = ~0ull;
    RUN("\x48\xf7\xe9"); /* imul rcx: -1 * -1 */
    ck_assert_uint_eq(R(AX), 1);
    ck_assert_uint_eq(R(DX), 0);
    ck_assert_uint_eq(ARITH & (CF | OF), 0);
    R(AX) = 0x80;
    R(CX) = 0xff;
    RUN("\xf6\xe9"); /* imul cl: -128 * -1 */
    ck_assert_uint_eq(R(AX), 0x80);
    ck_assert_uint_eq(ARITH & (CF | OF), CF | OF);
    R(CX) = 0x10000;
    RUN("\x69\xc1\x00\x00\x01\x00"); /* imul eax, ecx, 0x10000 */
    ck_assert_uint_eq(R(AX), 0);
    ck_assert_uint_eq(ARITH & (CF | OF), CF | OF);
    RUN("\x48\x6b\xc1\xfe"); /* imul rax, rcx, -2 */
    ck_assert_uint_eq(R(AX), 0xfffffffffffe0000);
    ck_assert_uint_eq(ARITH & (CF | OF), 0);
}
END_TEST

START_TEST(quotients)
{
    mode(64);
    R(DX) = 1;
    R(AX) = 0;
    R(CX) = 2;
    RUN("\x48\xf7\xf1"); /* div rcx */
    ck_assert_uint_eq(R(AX), 1ull << 63);
    ck_assert_uint_eq(R(DX), 0);
    R(DX) = 2;
    FAULTS(EXC_DE, "\x48\xf7\xf1"); /* quotient of 65 bits */
    ck_assert_uint_eq(R(DX), 2);
    R(CX) = 0;
    FAULTS(EXC_DE, "\xf6\xf1");
    FAULTS(EXC_DE, "\x66\xf7\xf9");
    R(DX) = ~0ull;
    R(AX) = 0x8000000000000000;
    R(CX) = ~0ull;
    FAULTS(EXC_DE, "\x48\xf7\xf9"); /* INT64_MIN / -1 */
    R(DX) = 0x8000000000000000;
    R(AX) = 0;
    FAULTS(EXC_DE, "\x48\xf7\xf9"); /* INT128_MIN / -1 */
    R(DX) = 0x80000000;
    FAULTS(EXC_DE, "\xf7\xf9"); /* INT64_MIN / -1 in EDX:EAX */
    R(DX) = ~0ull;
    R(AX) = (uint64_t)-7;
    R(CX) = 2;
    RUN("\x48\xf7\xf9");
    ck_assert_int_eq((int64_t)R(AX), -3);
    ck_assert_int_eq((int64_t)R(DX), -1);
    R(AX) = 0xff80; /* -128 / 1 fits, / -1 does not */
    R(CX) = 1;
    RUN("\xf6\xf9");
    ck_assert_uint_eq(R(AX), 0x0080);
    R(AX) = 0xff80;
    R(CX) = 0xff;
    FAULTS(EXC_DE, "\xf6\xf9");
}
END_TEST

START_TEST(decimal)
{
    mode(32);
    R(AX) = 0x79;
    flags(0);
    RUN("\x04\x35"); /* add al, 0x35 */
    RUN("\x27");     /* daa: 79 + 35 = 114 */
    ck_assert_uint_eq(R(AX), 0x14);
    ck_assert_uint_eq(ARITH & (CF | AF), CF | AF);
    R(AX) = 0x35;
    RUN("\x2c\x47"); /* sub al, 0x47 */
    RUN("\x2f");     /* das: 35 - 47 = -12 */
    ck_assert_uint_eq(R(AX), 0x88);
    ck_assert_uint_eq(ARITH & (CF | AF), CF | AF);
    R(AX) = 0x00ff;
    flags(0);
    RUN("\x37"); /* aaa */
    ck_assert_uint_eq(R(AX), 0x0205);
    R(AX) = 0x63;
    RUN("\xd4\x0a"); /* aam */
    ck_assert_uint_eq(R(AX), 0x0909);
    RUN("\xd5\x0a"); /* aad */
    ck_assert_uint_eq(R(AX), 0x63);
    FAULTS(EXC_DE, "\xd4\x00");
    flags(CF);
    RUN("\xd6"); /* salc */
    ck_assert_uint_eq(R(AX), 0xff);
}
END_TEST

/* -- Shifts -- */

START_TEST(shifts)
{
    mode(64);
    R(AX) = 0xffffffff12345678;
    R(CX) = 32;
    flags(CF | OF | ZF);
    RUN("\xd3\xe0"); /* shl eax, cl with 32 & 31: no flag, but zero-extension */
    ck_assert_uint_eq(R(AX), 0x12345678);
    ck_assert_uint_eq(ARITH, CF | OF | ZF);
    R(AX) = 0x81;
    RUN("\xd0\xe0"); /* shl al, 1 */
    ck_assert_uint_eq(R(AX), 0x02);
    ck_assert_uint_eq(ARITH & ~AF, CF | OF);
    R(AX) = 0x80;
    R(CX) = 8;
    RUN("\xd2\xe8"); /* shr al, 8 */
    ck_assert_uint_eq(R(AX), 0);
    ck_assert_uint_eq(ARITH & (CF | ZF), CF | ZF);
    R(AX) = 0x80;
    R(CX) = 31;
    RUN("\xd2\xf8"); /* sar al, 31 */
    ck_assert_uint_eq(R(AX), 0xff);
    ck_assert(ARITH & CF);
    R(AX) = 0x8000000000000001;
    R(CX) = 63;
    RUN("\x48\xd3\xe8"); /* shr rax, 63 */
    ck_assert_uint_eq(R(AX), 1);
    ck_assert(!(ARITH & CF));
    R(AX) = 3;
    RUN("\x48\xd1\xf8"); /* sar rax, 1 */
    ck_assert_uint_eq(ARITH & ~AF, CF);
}
END_TEST

START_TEST(rotates)
{
    mode(64);
    R(AX) = 0x81;
    R(CX) = 8;
    flags(ZF);
    RUN("\xd2\xc0"); /* rol al, 8: same value, CF is bit 0 */
    ck_assert_uint_eq(R(AX), 0x81);
    ck_assert_uint_eq(ARITH & (CF | ZF), CF | ZF);
    flags(0);
    R(CX) = 9;
    RUN("\xd2\xd0"); /* rcl al, 9: nothing at all */
    ck_assert_uint_eq(R(AX), 0x81);
    ck_assert_uint_eq(ARITH, 0);
    flags(CF);
    RUN("\xd0\xd8"); /* rcr al, 1 */
    ck_assert_uint_eq(R(AX), 0xc0);
    ck_assert_uint_eq(ARITH, CF);
    R(AX) = 1;
    flags(CF);
    R(CX) = 63;
    RUN("\x48\xd3\xd0"); /* rcl rax, 63 */
    ck_assert_uint_eq(R(AX), 0xc000000000000000);
    ck_assert_uint_eq(ARITH & CF, 0);
    R(AX) = 0x8001;
    R(CX) = 17;
    flags(0);
    RUN("\x66\xd3\xc8"); /* ror ax, 17 & 31 = 1 mod 16 */
    ck_assert_uint_eq(R(AX), 0xc000);
    ck_assert(ARITH & CF);
}
END_TEST

START_TEST(double_shifts)
{
    mode(64);
    R(AX) = 0x80000001;
    R(DX) = 0xf0000000;
    RUN("\x0f\xa4\xd0\x04"); /* shld eax, edx, 4 */
    ck_assert_uint_eq(R(AX), 0x1f);
    ck_assert(!(ARITH & CF));
    R(AX) = 0x1f;
    R(DX) = 1;
    RUN("\x48\x0f\xac\xd0\x01"); /* shrd rax, rdx, 1 */
    ck_assert_uint_eq(R(AX), 0x800000000000000f);
    ck_assert(ARITH & CF);
    ck_assert(ARITH & OF);
    R(AX) = 0xffffffff00000001;
    R(CX) = 32;
    flags(ZF | CF);
    RUN("\x0f\xa5\xd0"); /* shld eax, edx, cl: count 0 */
    ck_assert_uint_eq(R(AX), 1);
    ck_assert_uint_eq(ARITH, ZF | CF);
    R(AX) = 0x1234;
    R(DX) = 0xabcd;
    R(CX) = 16;
    RUN("\x66\x0f\xa5\xd0"); /* shld ax, dx, 16 */
    ck_assert_uint_eq(R(AX), 0xabcd);
}
END_TEST

/* -- Bits -- */

START_TEST(bit_strings)
{
    mode(64);
    memset(board->ram + DATA, 0, 64);
    R(SI) = DATA + 32;
    R(CX) = (uint64_t)-1;
    RUN("\x0f\xab\x0e"); /* bts [rsi], ecx: bit -1 */
    ck_assert_uint_eq(load(DATA + 28, 4), 0x80000000);
    R(CX) = 100;
    RUN("\x48\x0f\xbb\x0e"); /* btc [rsi], rcx: bit 36 of the second quadword */
    ck_assert_uint_eq(load(DATA + 40, 8), 1ull << 36);
    RUN("\x48\x0f\xa3\x0e"); /* bt */
    ck_assert(ARITH & CF);
    RUN("\x0f\xba\x26\x23"); /* bt dword [rsi], 35: immediate modulo 32, same doubleword */
    ck_assert(!(ARITH & CF));
    R(AX) = 0;
    R(CX) = 67;
    RUN("\x48\x0f\xab\xc8"); /* bts rax, rcx: modulo 64 */
    ck_assert_uint_eq(R(AX), 8);
    mode(16);
    R(BX) = 0xfffe;
    R(CX) = 0x0010; /* one word on: wraps to offset 0 */
    store(0, 0, 8);
    cpu->seg[SEG_DS].base = 0;
    RUN("\x0f\xab\x0f"); /* bts [bx], cx */
    ck_assert_uint_eq(load(0, 2), 1);
}
END_TEST

START_TEST(bit_scans)
{
    mode(64);
    R(AX) = 0xdeadbeefdeadbeef;
    R(CX) = 0;
    RUN("\x0f\xbc\xc1"); /* bsf eax, ecx of 0: destination untouched */
    ck_assert_uint_eq(R(AX), 0xdeadbeefdeadbeef);
    ck_assert(ARITH & ZF);
    R(CX) = 0x8000000000000000;
    RUN("\x48\x0f\xbd\xc1"); /* bsr rax, rcx */
    ck_assert_uint_eq(R(AX), 63);
    ck_assert(!(ARITH & ZF));
    R(CX) = 0xf0f0;
    RUN("\xf3\x66\x0f\xb8\xc1"); /* popcnt ax, cx */
    ck_assert_uint_eq(R(AX), 8);
    ck_assert_uint_eq(ARITH, 0);
    /* CRC-32C of "123456789" is e3069283. */
    static const char text[] = "123456789";
    R(AX) = 0xffffffff;
    memcpy(board->ram + DATA, text, 9);
    R(SI) = DATA;
    RUN("\xf2\x48\x0f\x38\xf1\x06"); /* crc32 rax, qword [rsi] */
    RUN("\xf2\x0f\x38\xf0\x46\x08"); /* crc32 eax, byte [rsi+8] */
    ck_assert_uint_eq(~R(AX) & 0xffffffff, 0xe3069283);
}
END_TEST

/* -- Stack -- */

START_TEST(stack)
{
    mode(64);
    R(SP) = 0x8000;
    RUN("\x54"); /* push rsp: the old value */
    ck_assert_uint_eq(R(SP), 0x7ff8);
    ck_assert_uint_eq(load(0x7ff8, 8), 0x8000);
    RUN("\x6a\xff"); /* push -1 */
    ck_assert_uint_eq(load(0x7ff0, 8), ~0ull);
    RUN("\x66\x50"); /* push ax: two bytes */
    ck_assert_uint_eq(R(SP), 0x7fee);
    RUN("\x66\x58");
    RUN("\x5c"); /* pop rsp: the value read */
    ck_assert_uint_eq(R(SP), ~0ull);
    R(SP) = 0x7000;
    store(0x7000, 0x1234, 8);
    RUN("\x8f\x04\x24"); /* pop [rsp]: address with the raised stack pointer */
    ck_assert_uint_eq(load(0x7008, 8), 0x1234);
    R(SP) = 0x8000000000000000;
    FAULTS(EXC_SS, "\x50");
    ck_assert_uint_eq(R(SP), 0x8000000000000000);
    mode(32);
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = 0x100 + i;
    R(SP) = 0x8000;
    RUN("\x60"); /* pusha */
    ck_assert_uint_eq(R(SP), 0x7fe0);
    ck_assert_uint_eq(load(0x7fec, 4), 0x8000);
    ck_assert_uint_eq(load(0x7ffc, 4), 0x100);
    for (unsigned i = 0; i < 8; i++)
        if (i != RSP)
            cpu->gpr[i] = 0;
    RUN("\x61"); /* popa */
    ck_assert_uint_eq(R(SP), 0x8000);
    ck_assert_uint_eq(R(DI), 0x107);
    ck_assert_uint_eq(R(AX), 0x100);
}
END_TEST

START_TEST(frames)
{
    mode(64);
    R(SP) = 0x8000;
    R(BP) = 0x7777;
    RUN("\xc8\x20\x00\x00"); /* enter 32, 0 */
    ck_assert_uint_eq(R(BP), 0x7ff8);
    ck_assert_uint_eq(R(SP), 0x7fd8);
    RUN("\xc9"); /* leave */
    ck_assert_uint_eq(R(BP), 0x7777);
    ck_assert_uint_eq(R(SP), 0x8000);
    mode(32);
    R(SP) = 0x8000;
    R(BP) = 0x9000;
    store(0x8ffc, 0xaaaa, 4);
    RUN("\xc8\x04\x00\x02"); /* enter 4, 2 */
    ck_assert_uint_eq(R(BP), 0x7ffc);
    ck_assert_uint_eq(load(0x7ffc, 4), 0x9000);
    ck_assert_uint_eq(load(0x7ff8, 4), 0xaaaa);
    ck_assert_uint_eq(load(0x7ff4, 4), 0x7ffc);
    ck_assert_uint_eq(R(SP), 0x7ff0);
    mode(16);
    R(SP) = 0x11110002; /* only SP moves, and it wraps */
    R(AX) = 0xbeef;
    RUN("\x50");
    RUN("\x50");
    ck_assert_uint_eq(R(SP), 0x1111fffe);
    ck_assert_uint_eq(load(0xfffe, 2), 0xbeef);
    R(SP) = 1;
    FAULTS(EXC_SS, "\x50"); /* a word at 0xffff */
}
END_TEST

/* -- Control flow -- */

START_TEST(branches)
{
    mode(64);
    cpu->rip = 0x1000;
    RUN("\xeb\xfe"); /* jmp $ */
    ck_assert_uint_eq(cpu->rip, 0x1000);
    R(AX) = 0x800000000000;
    FAULTS(EXC_GP, "\xff\xe0"); /* jmp rax: not canonical */
    FAULTS(EXC_GP, "\xff\xd0"); /* call rax */
    ck_assert_uint_eq(R(SP), 0x8000);
    store(0x8000, 0x800000000000, 8);
    FAULTS(EXC_GP, "\xc3");
    ck_assert_uint_eq(R(SP), 0x8000);
    store(0x8000, 0x2000, 8);
    RUN("\xc2\x10\x00"); /* ret 16 */
    ck_assert_uint_eq(cpu->rip, 0x2000);
    ck_assert_uint_eq(R(SP), 0x8018);
    R(CX) = 0x100000001;
    RUN("\x67\xe2\x10"); /* loop with ECX: count becomes 0, high half cleared */
    ck_assert_uint_eq(cpu->rip, 0x2003);
    ck_assert_uint_eq(R(CX), 0);
    RUN("\xe3\x10"); /* jrcxz */
    ck_assert_uint_eq(cpu->rip, 0x2015);
    mode(16);
    cpu->rip = 0xfffe;
    RUN("\xeb\x02"); /* wraps at 64 KiB */
    ck_assert_uint_eq(cpu->rip, 2);
    cpu->seg[SEG_CS].limit = 0xfff;
    cpu_update_mode(cpu);
    R(CX) = 5;
    cpu->rip = 0xff0;
    FAULTS(EXC_GP, "\xe2\x7f"); /* loop beyond the limit: CX unchanged */
    ck_assert_uint_eq(R(CX), 5);
    mode(32);
    cpu->rip = 0x12345;
    RUN("\x66\xeb\x00"); /* 16-bit operand size cuts EIP */
    ck_assert_uint_eq(cpu->rip, 0x2348);
    R(SI) = DATA;
    store(DATA, (uint64_t)10 << 32 | (uint32_t)-5, 8);
    R(AX) = (uint32_t)-5;
    RUN("\x62\x06"); /* bound eax, [esi] */
    R(AX) = 11;
    FAULTS(EXC_BR, "\x62\x06");
}
END_TEST

START_TEST(flag_instructions)
{
    mode(64);
    flags(0);
    R(AX) = 0xff00;
    RUN("\x9e"); /* sahf */
    ck_assert_uint_eq(ARITH, CF | PF | AF | ZF | SF);
    RUN("\xf5"); /* cmc */
    RUN("\x9f"); /* lahf */
    ck_assert_uint_eq(R(AX), 0xd600);
    RUN("\xfd"); /* std */
    ck_assert(cpu->eflags & FLAG_DF);
    RUN("\xfc");
    ck_assert(!(cpu->eflags & FLAG_DF));
}
END_TEST

/* -- Strings -- */

static void pattern(gpa_t gpa, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        board->ram[gpa + i] = (uint8_t)(i * 7 + 1);
}

START_TEST(string_moves)
{
    mode(64);
    pattern(DATA, 0x3000);
    R(SI) = DATA;
    R(DI) = DATA + 0x10003;
    R(CX) = 0x3000;
    RUN("\xf3\xa4");
    ck_assert_mem_eq(board->ram + DATA, board->ram + DATA + 0x10003, 0x3000);
    ck_assert_uint_eq(R(CX), 0);
    ck_assert_uint_eq(R(SI), DATA + 0x3000);
    ck_assert_uint_eq(R(DI), DATA + 0x13003);

    /* Backward, quadwords. */
    cpu->eflags |= FLAG_DF;
    memset(board->ram + DATA + 0x10000, 0, 0x4000);
    R(SI) = DATA + 0x2ff8;
    R(DI) = DATA + 0x12ffd;
    R(CX) = 0x600;
    RUN("\xf3\x48\xa5");
    ck_assert_mem_eq(board->ram + DATA, board->ram + DATA + 0x10005, 0x3000);
    ck_assert_uint_eq(R(SI), DATA - 8);
    cpu->eflags &= ~(uint32_t)FLAG_DF;
}
END_TEST

/* What the elements would do one after the other. */
static void reference_copy(uint8_t *to, const uint8_t *from, unsigned n, unsigned size, bool down)
{
    uint8_t element[8];
    for (unsigned i = 0; i < n; i++) {
        unsigned at = (down ? n - 1 - i : i) * size;
        memcpy(element, from + at, size);
        memcpy(to + at, element, size);
    }
}

START_TEST(overlapping_moves)
{
    static const char *const code[4] = {"\xf3\xa4", "\xf3\x66\xa5", "\xf3\xa5", "\xf3\x48\xa5"};
    static const unsigned length[4] = {2, 3, 2, 3};
    static uint8_t expected[0x800];

    mode(64);
    for (int distance = -40; distance <= 40; distance++) {
        for (unsigned width = 0; width < 8; width++) {
            unsigned size = 1u << (width & 3), n = 37;
            bool down = width & 4;
            pattern(DATA, sizeof expected);
            memcpy(expected, board->ram + DATA, sizeof expected);
            reference_copy(expected + 0x100 + distance, expected + 0x100, n, size, down);
            cpu->eflags = down ? cpu->eflags | FLAG_DF : cpu->eflags & ~(uint32_t)FLAG_DF;
            R(SI) = DATA + 0x100 + (down ? (n - 1) * size : 0);
            R(DI) = R(SI) + (uint64_t)(int64_t)distance;
            R(CX) = n;
            ck_assert_int_eq(execute(code[width & 3], length[width & 3]), -1);
            ck_assert_mem_eq(expected, board->ram + DATA, sizeof expected);
        }
    }
}
END_TEST

START_TEST(string_fills_and_scans)
{
    mode(64);
    R(DI) = DATA + 1;
    R(AX) = 0x11223344;
    R(CX) = 0x900;
    RUN("\xf3\xab"); /* rep stosd across pages */
    for (unsigned i = 0; i < 0x900; i++)
        ck_assert_uint_eq(load(DATA + 1 + 4 * i, 4), 0x11223344);
    memset(board->ram + DATA, 'a', 0x2000);
    board->ram[DATA + 0x1234] = 0;
    R(DI) = DATA;
    R(AX) = 0;
    R(CX) = ~0ull;
    RUN("\xf2\xae"); /* repne scasb: strlen */
    ck_assert_uint_eq(R(DI), DATA + 0x1235);
    ck_assert_uint_eq(~R(CX), 0x1235);
    ck_assert(ARITH & ZF);
    memset(board->ram + DATA + 0x8000, 'a', 0x2000);
    board->ram[DATA + 0x9000] = 'b';
    R(SI) = DATA;
    R(DI) = DATA + 0x8000;
    R(CX) = 0x1800;
    RUN("\xf3\xa6"); /* repe cmpsb */
    ck_assert_uint_eq(R(SI), DATA + 0x1001);
    ck_assert_uint_eq(R(CX), 0x7ff);
    ck_assert_uint_eq(ARITH, CF | SF | AF | PF); /* 'a' - 'b' */
    flags(OF);
    R(CX) = 0;
    RUN("\xf3\xa6"); /* nothing compared: flags stay */
    ck_assert_uint_eq(ARITH, OF);
    R(SI) = DATA + 0x1230;
    R(CX) = 3;
    RUN("\xf3\xad"); /* rep lodsd: the last one */
    ck_assert_uint_eq(R(AX), 0x61616161);
    ck_assert_uint_eq(R(SI), DATA + 0x123c);
}
END_TEST

START_TEST(string_restart)
{
    /* The second page of the destination is not present. */
    mode(64);
    gpa_t tables = RAM - PAGE_TABLE_BYTES;
    put_u64(board, tables + 0x2000 + 8, 0); /* 2 MiB and up: nothing */
    board_ram_changed(board);
    pattern(DATA, 0x2000);
    R(SI) = DATA;
    R(DI) = 0x200000 - 0x1005;
    R(CX) = 0x2000;
    FAULTS(EXC_PF, "\xf3\xa4");
    ck_assert_uint_eq(cpu->cr2, 0x200000);
    ck_assert_uint_eq(R(CX), 0x2000 - 0x1005);
    ck_assert_uint_eq(R(DI), 0x200000);
    ck_assert_uint_eq(R(SI), DATA + 0x1005);
    ck_assert_mem_eq(board->ram + DATA, board->ram + 0x200000 - 0x1005, 0x1005);

    /* Flags of a faulting REPE CMPS stay as they were. */
    memset(board->ram + DATA, 0, 0x2000);
    memset(board->ram + 0x200000 - 0x1000, 0, 0x1000);
    R(SI) = DATA;
    R(DI) = 0x200000 - 0x1000;
    R(CX) = 0x2000;
    flags(CF | OF);
    FAULTS(EXC_PF, "\xf3\xa6");
    ck_assert_uint_eq(ARITH, CF | OF);
    ck_assert_uint_eq(R(CX), 0x1000);

    /* An event stops after at least one element and leaves the instruction to be resumed. */
    cpu_post(cpu, EVENT_INTERRUPT);
    R(SI) = DATA;
    R(DI) = DATA + 0x8000;
    R(CX) = 0x4000;
    cpu->rip = 0x1000;
    RUN("\xf3\xa4");
    ck_assert_uint_eq(cpu->rip, 0x1000);
    ck_assert_uint_lt(R(CX), 0x4000);
    ck_assert_uint_gt(R(CX), 0);
    atomic_store(&cpu->event, 0);
}
END_TEST

START_TEST(string_wraps)
{
    mode(16);
    pattern(0, 16);
    pattern(0xfff0, 16);
    R(SI) = 0xdead0000fff8;
    R(DI) = 0x4000;
    R(CX) = 16;
    cpu->seg[SEG_DS].base = cpu->seg[SEG_ES].base = 0;
    RUN("\xf3\xa4"); /* SI wraps to 0 and keeps its upper part */
    ck_assert_mem_eq(board->ram + 0xfff8, board->ram + 0x4000, 8);
    ck_assert_mem_eq(board->ram, board->ram + 0x4008, 8);
    ck_assert_uint_eq(R(SI), 0xdead00000008);
    R(SI) = 0xfff9;
    R(CX) = 8;
    FAULTS(EXC_GP, "\xf3\xa5"); /* the word at 0xffff */
    ck_assert_uint_eq(R(SI), 0xffff);
    ck_assert_uint_eq(R(CX), 5);

    /* Expand-down segment in protected mode: valid above its limit only. */
    mode(32);
    cpu->seg[SEG_ES].limit = DATA - 1;
    cpu->seg[SEG_ES].attr |= SEGMENT_DC;
    cpu_update_mode(cpu);
    R(DI) = DATA + 3;
    R(CX) = 8;
    R(AX) = 0x5a;
    cpu->eflags |= FLAG_DF;
    FAULTS(EXC_GP, "\xf3\xaa");
    ck_assert_uint_eq(R(CX), 4);
    ck_assert_uint_eq(R(DI), DATA - 1);
    ck_assert_uint_eq(load(DATA, 4), 0x5a5a5a5a);
    cpu->eflags &= ~(uint32_t)FLAG_DF;

    /* 32-bit addresses in 64-bit mode. */
    mode(64);
    R(SI) = 0xffffffff00000000 + DATA;
    R(DI) = 0xffffffff00000000 + DATA + 0x100;
    R(CX) = 0xffffffff00000004;
    pattern(DATA, 4);
    RUN("\x67\xf3\xa4");
    ck_assert_uint_eq(R(SI), DATA + 4);
    ck_assert_uint_eq(R(CX), 0);
    ck_assert_mem_eq(board->ram + DATA, board->ram + DATA + 0x100, 4);
}
END_TEST

/* -- No state changes before the last fault -- */

START_TEST(faults_change_nothing)
{
    mode(64);
    gpa_t tables = RAM - PAGE_TABLE_BYTES;
    put_u64(board, tables + 0x2000 + 8, 0);
    board_ram_changed(board);
    static const struct {
        const char *bytes;
        unsigned length;
    } cases[] = {
        {"\x01\x06", 2},
        {"\x03\x06", 2},
        {"\xf0\x0f\xc1\x06", 4},
        {"\x0f\xb1\x0e", 3},
        {"\x87\x06", 2},
        {"\xd3\x26", 2},
        {"\x0f\xab\x06", 3},
        {"\xff\x36", 2},
        {"\x8f\x06", 2},
        {"\xff\x16", 2},
        {"\xf7\x36", 2},
        {"\x0f\xc7\x0e", 3},
        {"\x48\x0f\xc7\x0e", 4},
        {"\x0f\x94\x06", 3},
        {"\x0f\x44\x06", 3},
        {"\xfe\x06", 2},
        {"\xf6\x16", 2},
        {"\x0f\xa5\x06", 3},
        {"\xa4", 1},
        {"\xac", 1},
        {"\xff\x26", 2},
        {"\xc7\x06\1\0\0\0", 6},
        {"\x0f\xbc\x06", 3},
        {"\xf2\x0f\x38\xf1\x06", 5},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t gpr[16];
        for (unsigned r = 0; r < 16; r++)
            cpu->gpr[r] = 0x1111 * r;
        R(SP) = 0x8000;
        R(SI) =
            0x200000 - 1; /* the operand straddles into the missing page, if wider than a byte */
        R(CX) = 3;
        if (cases[i].bytes[0] == '\xfe' || cases[i].bytes[0] == '\xf6' || i == 13 || i == 18 ||
            i == 19)
            R(SI) = 0x200000;
        R(SI) &= ~(uint64_t)(i == 12 ? 15 : 0);
        R(SI) += i == 12 ? 16 : 0;
        R(DI) = DATA;
        memcpy(gpr, cpu->gpr, sizeof gpr);
        flags(CF | SF);
        board->ram[0x1fffff] = 0xa5;
        int vector = execute(cases[i].bytes, cases[i].length);
        ck_assert_msg(vector == EXC_PF, "case %u raised %d", i, vector);
        ck_assert_mem_eq(gpr, cpu->gpr, sizeof gpr);
        ck_assert_uint_eq(ARITH, CF | SF);
        ck_assert_uint_eq(board->ram[0x1fffff], 0xa5);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integer");
    TCase *tests = tcase_create("instructions");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, partial_writes);
    tcase_add_test(tests, extensions);
    tcase_add_test(tests, conditional_moves);
    tcase_add_test(tests, addition);
    tcase_add_test(tests, subtraction);
    tcase_add_test(tests, exchanges);
    tcase_add_test(tests, locked);
    tcase_add_test(tests, products);
    tcase_add_test(tests, quotients);
    tcase_add_test(tests, decimal);
    tcase_add_test(tests, shifts);
    tcase_add_test(tests, rotates);
    tcase_add_test(tests, double_shifts);
    tcase_add_test(tests, bit_strings);
    tcase_add_test(tests, bit_scans);
    tcase_add_test(tests, stack);
    tcase_add_test(tests, frames);
    tcase_add_test(tests, branches);
    tcase_add_test(tests, flag_instructions);
    tcase_add_test(tests, string_moves);
    tcase_add_test(tests, overlapping_moves);
    tcase_add_test(tests, string_fills_and_scans);
    tcase_add_test(tests, string_restart);
    tcase_add_test(tests, string_wraps);
    tcase_add_test(tests, faults_change_nothing);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
