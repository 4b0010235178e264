#include "tests/cpu/engines.h"

#include <string.h>

#ifdef __x86_64__

#include "translator/translator.h"

#define TRANSLATOR &accel_translator

static unsigned hot_at = 1;
static bool use_window;

void engine_set_hot(unsigned hot)
{
    hot_at = hot;
}

void engine_set_window(bool use)
{
    use_window = use;
}

void engine_set_options(unsigned threshold, unsigned max_insns, bool verify)
{
    translator_options.threshold = threshold;
    translator_options.hot = hot_at;
    translator_options.max_insns = max_insns;
    translator_options.verify = verify;
    translator_options.window = use_window ? WINDOW_ALL : WINDOW_NONE;
}

#else

#define TRANSLATOR NULL

void engine_set_hot(unsigned hot)
{
}

void engine_set_window(bool use)
{
}

void engine_set_options(unsigned threshold, unsigned max_insns, bool verify)
{
}

#endif

const struct accel *engine_find(const char *name)
{
    static const struct {
        const char *name;
        const struct accel *accel;
    } engines[] = {{"interpreter", &accel_interpreter}, {"translator", TRANSLATOR}};
    for (unsigned i = 0; i < sizeof engines / sizeof *engines; i++) {
        const struct accel *accel = engines[i].accel;
        if (accel && (!strcmp(name, engines[i].name) || !strcmp(name, accel->name)))
            return accel;
    }
    return NULL;
}
