/*
 * What registers hold, symbolically: each is known as root + offset, where a root is a value that
 * the block has not analysed further. Registers' first values are the roots of their numbers.
 */
#include "translator/engine.h"

void symbols_start(struct symbols *symbols, unsigned width)
{
    for (unsigned i = 0; i < 16; i++)
        symbols->at[i] = (struct symbol){(uint16_t)i, 0};
    symbols->roots = 16;
    symbols->string = UINT32_MAX;
    symbols->width = width;
}

static void forget(struct symbols *symbols, uint32_t registers)
{
    for (; registers; registers &= registers - 1)
        symbols->at[__builtin_ctz(registers)] = (struct symbol){symbols->roots++, 0};
}

void symbols_follow(struct symbols *symbols, const struct ir *ir)
{
    uint32_t written = ir_written(ir);
    if (ir->op == IR_FORWARD)
        symbols->string = ir->insn;
    bool whole = ir->d < 16 && ir->size == symbols->width && ir->insn != symbols->string;
    struct symbol result = {NO_ROOT, 0};
    if (whole && ir->op == IR_MOV && ir->a < 16) {
        result = symbols->at[ir->a];
    } else if (whole && ir->op == IR_LEA && ir->a < 16 && ir->b == V_ZERO &&
               ir->aux >> 4 >= symbols->width) {
        result = symbols->at[ir->a];
        result.offset += ir->imm;
    } else if (whole && (ir->op == IR_ADD || ir->op == IR_SUB) && ir->b == V_IMM &&
               ir->d == ir->a) {
        result = symbols->at[ir->a];
        result.offset += ir->op == IR_ADD ? ir->imm : -ir->imm;
    } else if (whole && (ir->op == IR_INC || ir->op == IR_DEC)) {
        result = symbols->at[ir->a];
        result.offset += ir->op == IR_INC ? 1 : -1;
    }
    forget(symbols, written);
    if (result.root != NO_ROOT)
        symbols->at[ir->d] = result;
}
