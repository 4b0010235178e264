/*
 * The engines that tests run guests on: the interpreter, and the translator where this host has
 * one.
 */
#ifndef DOPPEL_TESTS_CPU_ENGINES_H
#define DOPPEL_TESTS_CPU_ENGINES_H

#include "cpu/accel.h"

/* "interpreter", "translator", or the engine's own name; NULL if there is none. */
const struct accel *engine_find(const char *name);
/* For translators made from now on: which execution of an address is translated, most instructions
 * in a block (0: their defaults), and whether each block is compared with the interpreter. */
void engine_set_options(unsigned threshold, unsigned max_insns, bool verify);
/* Which execution of a block makes it hot (1, the default here: it is never anything else). */
void engine_set_hot(unsigned hot);
/* Does translated user code use the window (cpu/window.h)? Not by default, and not beside code that
 * runs natively at the same addresses. */
void engine_set_window(bool use);

#endif
