/*
 * struct insn as text in Intel syntax, for logs.
 */
#ifndef DOPPEL_CPU_DISASM_H
#define DOPPEL_CPU_DISASM_H

#include "cpu/insn.h"

#define DISASM_MAX 128

/* Writes at most `size` bytes, always terminated. `rip` is the instruction's address: branch
 * targets and RIP-relative operands are printed as addresses. */
void disasm(const struct insn *insn, uint64_t rip, char *text, size_t size);

#endif
