/*
 * The x86-64 assembler, compared with Capstone: each emitted instruction must disassemble to the
 * text that was meant, and use all its bytes.
 */
#include "translator/x86_64/emit.h"

#include <capstone/capstone.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static csh capstone;
static uint8_t code[256];
static struct emit e;

static void begin(void)
{
    e = emit_between(code, code + sizeof code);
}

static void expect(const char *wanted)
{
    cs_insn *insn;
    char text[256];
    size_t length = (size_t)(e.at - code);
    size_t count = cs_disasm(capstone, code, length, 0x1000, 0, &insn);
    ck_assert_msg(count == 1, "%zu instructions instead of \"%s\"", count, wanted);
    snprintf(text, sizeof text, "%s%s%s", insn->mnemonic, insn->op_str[0] ? " " : "", insn->op_str);
    ck_assert_str_eq(text, wanted);
    ck_assert_uint_eq(insn->size, length);
    cs_free(insn, count);
    begin();
}

START_TEST(moves)
{
    begin();
    emit_mov_rr(&e, 8, H_R12, H_RAX);
    expect("mov r12, rax");
    emit_mov_rr(&e, 4, H_RBX, H_R9);
    expect("mov ebx, r9d");
    emit_mov_ri(&e, H_R10, 5);
    expect("mov r10d, 5");
    emit_mov_ri(&e, H_RAX, ~0ull);
    expect("mov rax, -1");
    emit_mov_ri(&e, H_R9, 0x123456789abcull);
    expect("movabs r9, 0x123456789abc");
    emit_load(&e, 1, H_RCX, host_at(H_RSP, 12));
    expect("movzx ecx, byte ptr [rsp + 0xc]");
    emit_load(&e, 2, H_R8, host_at(H_R13, 0));
    expect("movzx r8d, word ptr [r13]");
    emit_load(&e, 8, H_R14, (struct host_mem){H_RDX, H_R12, 3, 0x1000});
    expect("mov r14, qword ptr [rdx + r12*8 + 0x1000]");
    emit_store(&e, 1, host_at(H_RBP, 0), H_RSI);
    expect("mov byte ptr [rbp], sil");
    emit_store(&e, 1, host_at(H_RAX, -1), H_RBX);
    expect("mov byte ptr [rax - 1], bl");
    emit_store(&e, 2, host_at(H_R12, 8), H_R11);
    expect("mov word ptr [r12 + 8], r11w");
    emit_store_imm(&e, 8, host_at(H_RSP, 0x80), -2);
    expect("mov qword ptr [rsp + 0x80], -2");
    emit_store_imm(&e, 2, host_at(H_RDX, 0), 0x1234);
    expect("mov word ptr [rdx], 0x1234");
    emit_lea(&e, 4, H_RCX, (struct host_mem){H_NONE, H_RSI, 2, 16});
    expect("lea ecx, [rsi*4 + 0x10]");
    emit_lea(&e, 8, H_RCX, host_at(H_R14, -8));
    expect("lea rcx, [r14 - 8]");
    emit_load(&e, 4, H_RAX, (struct host_mem){H_NONE, H_NONE, 0, 0x10});
    expect("mov eax, dword ptr [0x10]");
}
END_TEST

START_TEST(arithmetic)
{
    begin();
    emit_alu_rr(&e, ALU_ADD, 8, H_RBX, H_R12);
    expect("add rbx, r12");
    emit_alu_rr(&e, ALU_CMP, 1, H_RDI, H_R8);
    expect("cmp dil, r8b");
    emit_alu_ri(&e, ALU_AND, 4, H_RDX, 0x1ffe0);
    expect("and edx, 0x1ffe0");
    emit_alu_ri(&e, ALU_SUB, 8, H_R14, 8);
    expect("sub r14, 8");
    emit_alu_ri(&e, ALU_XOR, 2, H_RSI, 0x1234);
    expect("xor si, 0x1234");
    emit_alu_ri(&e, ALU_OR, 1, H_RBP, -1);
    expect("or bpl, 0xff");
    emit_alu_rm(&e, ALU_XOR, 8, H_RAX, host_at(H_RDX, 8));
    expect("xor rax, qword ptr [rdx + 8]");
    emit_alu_mr(&e, ALU_SBB, 4, (struct host_mem){H_RDX, H_RCX, 0, 0}, H_R15, true);
    expect("lock sbb dword ptr [rdx + rcx], r15d");
    emit_alu_mi(&e, ALU_CMP, 1, host_at(H_RSP, 41), 0, false);
    expect("cmp byte ptr [rsp + 0x29], 0");
    emit_alu_mi(&e, ALU_ADD, 8, host_at(H_RSP, 8), 0x12345, false);
    expect("add qword ptr [rsp + 8], 0x12345");
    emit_shift_ri(&e, SHIFT_SHR, 4, H_RDX, 16);
    expect("shr edx, 0x10");
    emit_shift_ri(&e, SHIFT_SAR, 8, H_R9, 1);
    expect("sar r9, 1");
    emit_rorx(&e, 4, H_RDX, H_R14, 7);
    expect("rorx edx, r14d, 7");
    emit_rorx(&e, 8, H_R8, H_RAX, 59);
    expect("rorx r8, rax, 0x3b");
    emit_vex_rr(&e, 0xf7 | X_0F38 | X_66 | X_W, H_RBX, H_R12, H_RBX);
    expect("shlx rbx, rbx, r12");
}
END_TEST

START_TEST(byte_registers)
{
    begin();
    emit_rr(&e, 0xb6 | X_0F, H_RAX, 7); /* no REX: BH */
    expect("movzx eax, bh");
    emit_rr(&e, 0xb6 | X_0F | X_BYTE_RM, H_RAX, H_RDI);
    expect("movzx eax, dil");
    emit_rr(&e, 0x88, H_RAX, 7);
    expect("mov bh, al");
    emit_rm(&e, 0x88, 4, host_at(H_RSP, 12));
    expect("mov byte ptr [rsp + 0xc], ah");
    emit_rr(&e, 0x94 | X_0F | X_BYTE_RM, 0, H_RSI);
    expect("sete sil");
}
END_TEST

START_TEST(vectors)
{
    begin();
    emit_rm(&e, 0x29 | X_0F, 9, host_at(H_RSP, 0x200));
    expect("movaps xmmword ptr [rsp + 0x200], xmm9");
    emit_rr(&e, 0x58 | X_0F | X_F2, 1, 12);
    expect("addsd xmm1, xmm12");
    emit_rr(&e, 0x00 | X_0F38 | X_66, 8, 3);
    expect("pshufb xmm8, xmm3");
    emit_rr(&e, 0x2a | X_0F | X_F2 | X_W, 2, H_R12);
    expect("cvtsi2sd xmm2, r12");
    emit_vex_rm(&e, 0x28 | X_0F | X_L, 9, 0, host_at(H_RSP, 0x200));
    expect("vmovaps ymm9, ymmword ptr [rsp + 0x200]");
    emit_vex_rr(&e, 0x58 | X_0F | X_F2, 1, 2, 12);
    expect("vaddsd xmm1, xmm2, xmm12");
    emit_vex_rr(&e, 0xb8 | X_0F38 | X_66 | X_W | X_L, 8, 15, 3);
    expect("vfmadd231pd ymm8, ymm15, ymm3");
}
END_TEST

START_TEST(jumps)
{
    begin();
    uint8_t *field = emit_jcc(&e, CC_BE);
    emit_patch(field, code + 6 + 0x20);
    expect("jbe 0x1026");
    field = emit_jmp(&e);
    emit_patch(field, code);
    expect("jmp 0x1000");
    field = emit_call(&e);
    emit_patch(field, code + 5);
    expect("call 0x1005");
    emit_jmp_reg(&e, H_R11);
    expect("jmp r11");
    emit_jmp_mem(&e, host_at(H_RDX, 8));
    expect("jmp qword ptr [rdx + 8]");
    emit_call_reg(&e, H_RAX);
    expect("call rax");
    emit_align(&e, 1);
    ck_assert_ptr_eq(e.at, code);
}
END_TEST

START_TEST(overflow_is_sticky)
{
    struct emit small = emit_between(code, code + 3);
    code[3] = 0x55;
    emit_mov_ri(&small, H_RAX, 0x123456789abcull);
    ck_assert(!emit_ok(&small));
    ck_assert_uint_eq(code[3], 0x55);
}
END_TEST

int main(void)
{
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &capstone) != CS_ERR_OK)
        return 1;
    Suite *suite = suite_create("x86-64 assembler");
    TCase *tc = tcase_create("encodings");
    tcase_add_test(tc, moves);
    tcase_add_test(tc, arithmetic);
    tcase_add_test(tc, byte_registers);
    tcase_add_test(tc, vectors);
    tcase_add_test(tc, jumps);
    tcase_add_test(tc, overflow_is_sticky);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    cs_close(&capstone);
    return failed ? 1 : 0;
}
