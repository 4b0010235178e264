/*
 * What the translator shows: guest code, IR and host code (disassembled by Capstone) of each
 * block, and a map by which perf(1) names blocks.
 */
#include "translator/engine.h"

#include "cpu/disasm.h"
#include "cpu/log.h"

#include <capstone/capstone.h>
#include <unistd.h>

void log_trace(const struct trace *trace)
{
    if (!(log_items & LOG_IN))
        return;
    log_line("-- block at %llx, mode %x", (unsigned long long)trace->rip[0], trace->mode);
    for (unsigned i = 0; i < trace->count; i++) {
        char text[DISASM_MAX];
        disasm(&trace->insn[i], trace->rip[i], text, sizeof text);
        log_line("   %8llx  %s%s", (unsigned long long)trace->rip[i], text,
                 trace->guard[i] ? "  (page guard)" : "");
    }
}

void log_ir(const struct ir_list *list, const struct trace *trace)
{
    if (!(log_items & LOG_IR))
        return;
    log_line("-- IR at %llx", (unsigned long long)trace->rip[0]);
    for (unsigned i = 0; i < list->count; i++) {
        char text[160];
        ir_print(&list->at[i], text, sizeof text);
        log_line("   %2u  %s", list->at[i].insn, text);
    }
}

static void log_code(csh capstone, const char *title, const uint8_t *code, size_t size,
                     uint64_t address)
{
    cs_insn *insns;
    log_line("   %s, %zu bytes", title, size);
    size_t count = cs_disasm(capstone, code, size, address, 0, &insns);
    for (size_t i = 0; i < count; i++)
        log_line("   %12llx  %s %s", (unsigned long long)insns[i].address, insns[i].mnemonic,
                 insns[i].op_str);
    if (count)
        cs_free(insns, count);
}

void log_host(const struct engine *engine, const struct block *block, const uint8_t *hot,
              size_t hot_size, const uint8_t *cold, size_t cold_size)
{
    csh capstone;
    if (!(log_items & LOG_OUT) || cs_open(CS_ARCH_X86, CS_MODE_64, &capstone) != CS_ERR_OK)
        return;
    log_line("-- host code of %llx", (unsigned long long)block->rip);
    log_code(capstone, "straight", hot, hot_size,
             (uint64_t)(uintptr_t)cache_rx(&engine->cache, hot));
    log_code(capstone, "cold", cold, cold_size,
             (uint64_t)(uintptr_t)cache_rx(&engine->cache, cold));
    cs_close(&capstone);
}

void perf_map_open(struct engine *engine)
{
    char path[64];
    if (!engine->options.perf_map)
        return;
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    engine->perf_map = fopen(path, "w");
}

void perf_map_note(struct engine *engine, const uint8_t *code, size_t size,
                   const struct block *block)
{
    if (engine->perf_map)
        fprintf(engine->perf_map, "%llx %zx guest_%llx\n", (unsigned long long)(uintptr_t)code,
                size, (unsigned long long)block->rip);
}
