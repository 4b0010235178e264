/*
 * Questions about IR operations, and their text for logs.
 */
#include "translator/ir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ir_reserve(struct ir_list *list, unsigned more)
{
    if (list->count + more <= list->capacity)
        return;
    list->capacity = (list->count + more) * 2 > 256 ? (list->count + more) * 2 : 256;
    list->at = realloc(list->at, list->capacity * sizeof *list->at);
    if (!list->at)
        abort(); /* a few kilobytes */
}

uint32_t ir_written(const struct ir *ir)
{
    uint32_t set = 0;
    if (ir->d < 16)
        set |= 1u << ir->d;
    else if (ir->d >= V_HIGH && ir->d < V_HIGH + 4)
        set |= 1u << (ir->d - V_HIGH);
    switch (ir->op) {
    case IR_XCHG:
    case IR_XADD:
        for (unsigned i = 0; i < 2; i++) {
            unsigned value = i ? ir->b : ir->a;
            if (value < 16)
                set |= 1u << value;
            else if (value >= V_HIGH && value < V_HIGH + 4)
                set |= 1u << (value - V_HIGH);
        }
        break;
    case IR_CMPXCHG:
        set |= 1u << RAX;
        if (ir->a < 16)
            set |= 1u << ir->a;
        break;
    case IR_MULTIPLY:
    case IR_MULTIPLY_SIGNED:
    case IR_DIVIDE:
    case IR_DIVIDE_SIGNED:
        set |= 1u << RAX | 1u << RDX;
        break;
    case IR_LAHF:
        set |= 1u << RAX;
        break;
    case IR_VECTOR: /* PCMPESTRI, PCMPISTRI */
        set |= ir->writes ? 1u << RCX : 0;
        break;
    case IR_BITS: /* MULX */
        set |= ir->b < 16 ? 1u << ir->b : 0;
        break;
    case IR_CPUID:
        set |= 1u << RAX | 1u << RBX | 1u << RCX | 1u << RDX;
        break;
    case IR_TSC:
    case IR_CMPXCHG_WIDE:
        set |= 1u << RAX | 1u << RDX;
        break;
    case IR_EXEC:
    case IR_EXEC_END:
        set = 0xffff;
        break;
    }
    if (ir_is_memory(ir))
        set = 0;
    return set;
}

/* -- Text -- */

static const struct {
    const char *name, *arguments;
} forms[IR_COUNT] = {
#define IR(name, arguments) {#name, arguments},
#include "translator/ir.def"
#undef IR
};

static const char *value_name(unsigned value, char text[8])
{
    static const char *const gpr[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
                                      "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "zero"};
    static const char *const high[] = {"ah", "ch", "dh", "bh"};
    if (value <= V_ZERO)
        return gpr[value];
    if (value >= V_HIGH && value < V_HIGH + 4)
        return high[value - V_HIGH];
    if (value >= V_XMM && value < V_XMM + 16) {
        snprintf(text, 8, "xmm%u", value - V_XMM);
        return text;
    }
    return value == V_T0 ? "t0" : value == V_T1 ? "t1" : value == V_M ? "m" : "-";
}

static const char *flags_text(unsigned flags, char text[8])
{
    static const struct {
        unsigned flag;
        char letter;
    } letters[] = {{FLAG_OF, 'o'}, {FLAG_SF, 's'}, {FLAG_ZF, 'z'},
                   {FLAG_AF, 'a'}, {FLAG_PF, 'p'}, {FLAG_CF, 'c'}};
    char *at = text;
    for (unsigned i = 0; i < 6; i++)
        if (flags & letters[i].flag)
            *at++ = letters[i].letter;
    *at = 0;
    return text;
}

void ir_print(const struct ir *ir, char *text, size_t size)
{
    char name[8], flags[2][8];
    int n = snprintf(text, size, "%-14s.%u", forms[ir->op].name, ir->size);
#define MORE(...)                                                                                  \
    do {                                                                                           \
        if (n >= 0 && (size_t)n < size)                                                            \
            n += snprintf(text + n, size - (size_t)n, __VA_ARGS__);                                \
    } while (0)
    for (const char *c = forms[ir->op].arguments; *c; c++) {
        unsigned value = *c == 'd' ? ir->d : *c == 'a' ? ir->a : ir->b;
        switch (*c) {
        case 'd':
        case 'a':
        case 'b':
            if (value == V_IMM)
                MORE(" %#llx", (unsigned long long)ir->imm);
            else
                MORE(" %s", value_name(value, name));
            break;
        case 'i':
            MORE(" %#llx", (unsigned long long)ir->imm);
            break;
        case 's':
            MORE(" from %u", ir->aux);
            break;
        case 'c':
            MORE(" cc%x", ir->cond);
            break;
        case 'm':
            MORE(" [%s", value_name(ir->a, name));
            MORE(" + %s << %u + %#llx]", value_name(ir->b, name), ir->aux & 15,
                 (unsigned long long)ir->imm);
            if (ir->seg < SEG_COUNT)
                MORE(" seg %u%s", ir->seg, ir->checked ? " checked" : "");
            if (ir->share)
                MORE(" shared %u", ir->share - 1);
            break;
        }
    }
    if (ir->lock)
        MORE(" lock");
    if (ir->writes || ir->reads)
        MORE("    ; live %s strict %s", flags_text(ir->live, flags[0]),
             flags_text(ir->strict, flags[1]));
#undef MORE
}
