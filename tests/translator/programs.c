/*
 * The guest programs of test_translate.c, assembled into this object.
 */
__asm__(".include \"tests/translator/programs.s\"");
