/*
 * The guest programs of test_translate.c and test_loops.c, assembled into this object. What the
 * compiler adds itself (sanitizers do) must find its own mode again afterwards.
 */
__asm__(".include \"tests/translator/programs.s\"\n"
        ".include \"tests/translator/loops.s\"\n"
        ".code64\n"
        ".text\n");
