/*
 * The guest programs of test_translate.c, test_loops.c and test_shift.c, assembled into this object. What the
 * compiler adds itself (sanitizers do) must find its own mode again afterwards.
 */
__asm__(".include \"tests/translator/programs.s\"\n"
        ".include \"tests/translator/loops.s\"\n"
        ".include \"tests/translator/shift.s\"\n"
        ".code64\n"
        ".text\n");
