/*
 * Where the documented behaviour of the 80386 and later is not the 80286's. A test to which a row
 * applies is not run: its outcome was captured from the other behaviour.
 */

/* The test's instruction as a processor with every feature decodes it. */
static struct insn decode_test(const struct moo_test *test)
{
    static const uint64_t all_features[4] = {~0ull, ~0ull, ~0ull, ~0ull};
    const struct decode_context context = {.code_size = 2, .features = all_features};
    struct insn insn = {.op = OP_UD};

    decode(&context, test->bytes, sizeof test->bytes, &insn);
    return insn;
}

static bool refused_lock(const struct moo_test *test)
{
    return decode_test(test).op == OP_UD && memchr(test->bytes, 0xf0, test->length);
}

static bool long_instruction(const struct moo_test *test)
{
    return test->exception == EXC_GP && decode_test(test).length > 10;
}

static bool new_segment_register(const struct moo_test *test)
{
    struct insn insn = decode_test(test);
    if (test->exception != EXC_UD || insn.op != OP_MOV_SREG)
        return false;
    return (insn.operand[0].kind == OPERAND_SEG && insn.operand[0].reg >= SEG_FS) ||
           (insn.operand[1].kind == OPERAND_SEG && insn.operand[1].reg >= SEG_FS);
}

static bool is_string(const struct insn *insn)
{
    switch (insn->op) {
    case OP_MOVS:
    case OP_STOS:
    case OP_LODS:
    case OP_SCAS:
    case OP_CMPS:
    case OP_INS:
    case OP_OUTS:
        return true;
    }
    return false;
}

static bool string_fault(const struct moo_test *test)
{
    struct insn insn = decode_test(test);
    return test->exception == EXC_GP && is_string(&insn);
}

static bool stack_fault(const struct moo_test *test)
{
    struct insn insn = decode_test(test);
    if (test->exception != EXC_GP)
        return false;
    switch (insn.op) {
    case OP_POP:
    case OP_POP_SREG:
    case OP_LEAVE:
    case OP_RET:
    case OP_RET_FAR:
        return true;
    }
    return insn_has_mem(&insn) && insn.seg == SEG_SS;
}

static const struct difference {
    bool (*applies)(const struct moo_test *test);
    const char *reason;
} differences[] = {
    {refused_lock, "LOCK is #UD on what cannot be locked; the 80286 takes it anywhere"},
    {long_instruction, "instructions may have 15 bytes, not 10"},
    {new_segment_register, "there are FS and GS"},
    {string_fault, "a string instruction that faults leaves its registers alone"},
    {stack_fault, "an offset beyond the limit of SS is #SS in real mode too, not #GP"},
};

#define DIFFERENCES (sizeof differences / sizeof *differences)

/* The first row that applies, or NULL. */
static const struct difference *find_difference(const struct moo_test *test)
{
    for (unsigned i = 0; i < DIFFERENCES; i++)
        if (differences[i].applies(test))
            return &differences[i];
    return NULL;
}
