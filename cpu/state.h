/*
 * struct cpu: the state of one virtual processor. Generated code addresses the hot part by
 * displacement from one host register, so the order of the first members is part of the design:
 * general registers, rip, flags, event word and TLB pointers within the first cache lines.
 *
 * Conventions while an instruction executes (interpreter or a helper called from generated code):
 *   rip       address (offset in CS) of the instruction being executed: faults push this
 *   next_rip  address of the following instruction: traps push this; branches overwrite it
 * Between instructions only rip counts.
 */
#ifndef DOPPEL_CPU_STATE_H
#define DOPPEL_CPU_STATE_H

#include "cpu/insn.h"

#include <setjmp.h>
#include <stdatomic.h>

typedef uint64_t gva_t; /* guest virtual (linear) address */
typedef uint64_t gpa_t; /* guest physical address */

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

enum segment_register { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

/* Visible selector and hidden descriptor cache. */
struct segment {
    uint64_t base;
    uint32_t limit; /* in bytes, granularity applied: last valid offset (expand-up) */
    uint16_t selector;
    uint16_t attr; /* enum segment_attr: descriptor bits 40-47 in 0-7, bits 52-55 in 12-15 */
};

enum segment_attr {
    SEGMENT_ACCESSED = 1 << 0,
    SEGMENT_RW = 1 << 1, /* data: writable; code: readable */
    SEGMENT_DC = 1 << 2, /* data: expand down; code: conforming */
    SEGMENT_CODE = 1 << 3,
    SEGMENT_S = 1 << 4, /* 1 code/data, 0 system */
    SEGMENT_DPL_SHIFT = 5,
    SEGMENT_P = 1 << 7,
    SEGMENT_AVL = 1 << 12,
    SEGMENT_L = 1 << 13,
    SEGMENT_DB = 1 << 14,
    SEGMENT_G = 1 << 15,
    /* P clear marks a null/unusable data segment: any access is #GP/#SS. */
};

enum eflags_bit {
    FLAG_CF = 1 << 0,
    FLAG_FIXED = 1 << 1, /* always 1 */
    FLAG_PF = 1 << 2,
    FLAG_AF = 1 << 4,
    FLAG_ZF = 1 << 6,
    FLAG_SF = 1 << 7,
    FLAG_TF = 1 << 8,
    FLAG_IF = 1 << 9,
    FLAG_DF = 1 << 10,
    FLAG_OF = 1 << 11,
    FLAG_IOPL = 3 << 12,
    FLAG_NT = 1 << 14,
    FLAG_RF = 1 << 16,
    FLAG_VM = 1 << 17,
    FLAG_AC = 1 << 18,
    FLAG_VIF = 1 << 19,
    FLAG_VIP = 1 << 20,
    FLAG_ID = 1 << 21,
};
#define FLAG_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

enum { CR0_PE = 1 << 0, CR0_MP = 1 << 1, CR0_EM = 1 << 2, CR0_TS = 1 << 3, CR0_ET = 1 << 4,
       CR0_NE = 1 << 5, CR0_WP = 1 << 16, CR0_AM = 1 << 18, CR0_NW = 1 << 29, CR0_CD = 1 << 30 };
#define CR0_PG (1u << 31)
enum { CR4_VME = 1 << 0, CR4_PVI = 1 << 1, CR4_TSD = 1 << 2, CR4_DE = 1 << 3, CR4_PSE = 1 << 4,
       CR4_PAE = 1 << 5, CR4_MCE = 1 << 6, CR4_PGE = 1 << 7, CR4_PCE = 1 << 8, CR4_OSFXSR = 1 << 9,
       CR4_OSXMMEXCPT = 1 << 10, CR4_UMIP = 1 << 11, CR4_LA57 = 1 << 12, CR4_FSGSBASE = 1 << 16,
       CR4_PCIDE = 1 << 17, CR4_OSXSAVE = 1 << 18, CR4_SMEP = 1 << 20, CR4_SMAP = 1 << 21 };
enum { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };

enum exception_vector { EXC_DE, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF,
                        EXC_TS = 10, EXC_NP, EXC_SS, EXC_GP, EXC_PF, EXC_MF = 16, EXC_AC, EXC_MC, EXC_XM };

/*
 * The mode word: everything that changes how code is decoded, translated or checked, in one compare.
 * Derived state: cpu_update_mode() makes it anew after any change of CR0/CR4/EFER/segments/EFLAGS.VM/AC/CPL.
 * A translation is valid for exactly one (linear rip, cs base, mode).
 */
enum cpu_mode_bit {
    MODE_CPL = 3,            /* bits 0-1 */
    MODE_CODE32 = 1 << 2,    /* CS.D, outside 64-bit mode */
    MODE_CODE64 = 1 << 3,    /* 64-bit mode (LMA and CS.L) */
    MODE_STACK32 = 1 << 4,   /* SS.B (ignored in 64-bit mode) */
    MODE_PROTECTED = 1 << 5, /* CR0.PE and not VM */
    MODE_VM86 = 1 << 6,
    MODE_LONG = 1 << 7, /* EFER.LMA: 64-bit or compatibility mode */
    MODE_PAGING = 1 << 8,
    MODE_FLAT_CS = 1 << 9, /* base 0, limit 4 GiB-1, usable for its purpose: no check needed */
    MODE_FLAT_SS = 1 << 10,
    MODE_FLAT_DS = 1 << 11,
    MODE_FLAT_ES = 1 << 12,
    MODE_FLAT_FS = 1 << 13, /* in 64-bit mode: the four above set, these two clear whatever the base, */
    MODE_FLAT_GS = 1 << 14, /* so that SWAPGS and thread switches do not change the mode */
    MODE_NO_X87 = 1 << 15,  /* CR0.EM or TS: x87/MMX instructions fault, see CR0 */
    MODE_NO_SSE = 1 << 16,  /* SSE instructions fault (#UD or #NM), see CR0/CR4 */
    MODE_ALIGN = 1 << 17,   /* alignment checks armed: CR0.AM, EFLAGS.AC, CPL 3 */
    MODE_STEP = 1 << 18,    /* EFLAGS.TF: only one instruction at a time */
    MODE_BREAK = 1 << 19,   /* some DR7 breakpoint armed: interpreter only */
    MODE_MMU_SHIFT = 20,    /* bits 20-21: enum mmu_index of ordinary accesses */
    MODE_NO_AVX = 1 << 22,  /* CR4.OSXSAVE/XCR0 do not enable AVX state */
    MODE_WINDOW = 1 << 23,  /* user code of the address space that has the window (cpu/window.h) */
};

enum mmu_index { MMU_KERNEL, MMU_KERNEL_SMAP, MMU_USER, MMU_COUNT };

/* -- Soft TLB -- */

/*
 * A direct-mapped slot serves reads, writes and fetches of a page, each by a tag of its own. An
 * access of `size` bytes at `gva` hits when (gva ^ tag) <= 4096 - size (unsigned): right page, right
 * permission, no page crossing, all in one compare. What was compared is then the offset in the
 * page, whose host address is beside the tags. Each is an array, so that generated code needs no
 * instruction to multiply the slot's number.
 *
 * TLB_SLOW, XORed into a tag, makes every compare fail although the translation is known: the slow path
 * finds it in `info` (MMIO, ROM writes, pages with code, first write for a dirty log, D bit). It flips
 * an index bit, so no address that leads to this slot can match, canonical or not. The tag of an empty
 * slot has a wrong index bit, too: it is 0, so that what is not used of a TLB takes no memory, except
 * in slots 0 and 1, where 0 is page 0, or page 1 being slow. There it has bit 61 without bit 63.
 */
#define TLB_BITS    14
#define TLB_ENTRIES (1u << TLB_BITS)
#define TLB_SLOW 0x1000ull
#define TLB_INVALID(slot) ((slot) < 2 ? 1ull << 61 | (uint64_t)((slot) ^ 1) << 12 : 0)

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH, ACCESS_COUNT };

/* More than there are: one, which no address finds, is for the engine; and what belongs to a slot
 * shall lie in different sets of the host's first cache. */
#define TLB_SLOTS (TLB_ENTRIES + 24)

struct tlb_info {
    gpa_t gpa;      /* page's physical address */
    uint8_t host;   /* backed by host memory (tlb.host is valid) */
    uint8_t rom;    /* writes go to the bus */
    uint8_t global; /* survives CR3 loads */
    uint8_t page_shift; /* 12, 21, 22, 30: size of the guest's page (INVLPG) */
    uint8_t dirty; /* D bit is set: a write needs no walk */
    uint8_t log;   /* the first write must be noted on the bus (struct bus_page) */
};

struct tlb {
    uint64_t tag[ACCESS_COUNT][TLB_SLOTS]; /* page address, ^ TLB_SLOW, or TLB_INVALID(slot) */
    uintptr_t host[TLB_SLOTS];             /* address of the page */
    struct tlb_info info[TLB_ENTRIES];
    uint64_t code[TLB_ENTRIES]; /* tlb_code() of a page in host memory that may be fetched; else 0 */
};

/* A page and where it is in one number, which says all that its slot does not. */
static inline uint64_t tlb_code(gva_t page, const void *host)
{
    return page >> (12 + TLB_BITS) << 42 | (uintptr_t)host >> 12;
}

static inline unsigned tlb_index(gva_t gva)
{
    return (unsigned)(gva >> 12) & (TLB_ENTRIES - 1);
}

/* Host address of `size` bytes, 1 to 4096, at gva if the TLB lets this access pass; else NULL. */
static inline void *tlb_find(const struct tlb *tlb, enum access access, gva_t gva, size_t size)
{
    unsigned slot = tlb_index(gva);
    uint64_t offset = gva ^ tlb->tag[access][slot];
    if (__builtin_expect(offset > 4096 - size, 0))
        return NULL;
    void *host = (void *)(tlb->host[slot] + offset);
    if (!host) /* what passes has a host page: callers need not look */
        __builtin_unreachable();
    return host;
}

/* -- Vector and x87 registers -- */

union vector {
    uint8_t u8[32];
    uint16_t u16[16];
    uint32_t u32[8];
    uint64_t u64[4];
    int8_t s8[32];
    int16_t s16[16];
    int32_t s32[8];
    int64_t s64[4];
} __attribute__((aligned(32)));

struct float80 {
    uint64_t mantissa; /* MMX register: this field, exponent all ones after an MMX write */
    uint16_t exponent; /* sign in bit 15 */
};

struct x87 {
    struct float80 reg[8]; /* physical registers; ST(i) is reg[(top + i) & 7] */
    uint16_t control;      /* FCW */
    uint16_t status;       /* FSW without TOP (bits 11-13 zero here) */
    uint8_t top;
    uint8_t empty;   /* bit i: physical register i is empty */
    uint16_t opcode; /* last FOP, 11 bits */
    uint16_t ip_selector, dp_selector;
    uint64_t ip, dp;
};

/* -- Pending events: actionable now or as soon as the CPU reaches a safe point -- */

enum cpu_event {
    EVENT_INTERRUPT = 1 << 0, /* a maskable interrupt may be deliverable: ask the bus */
    EVENT_NMI = 1 << 1,
    EVENT_INIT = 1 << 2,
    EVENT_SIPI = 1 << 3,
    EVENT_RESET = 1 << 4,
    EVENT_STOP = 1 << 5,      /* leave cpu_run() */
    EVENT_FLUSH_TLB = 1 << 6, /* memory layout changed or dirty log cleared */
    EVENT_FLUSH_CODE = 1 << 7, /* code written by DMA or another CPU: ranges are queued */
    EVENT_SHADOW = 1 << 8,    /* STI / MOV SS shadow ends after the next instruction */
    EVENT_STEP = 1 << 9,      /* MODE_STEP or MODE_BREAK: cpu_run() steps, engines stay out */
};

/* Results of CPUID in 64-bit mode, by cpuid_slot(). Valid while `epoch` is the processor's. */
struct cpuid_entry {
    uint64_t epoch;
    uint32_t leaf, subleaf;
    uint32_t eax, ebx, ecx, edx;
};
#define CPUID_ENTRIES 16

/* Generated code computes the same. */
static inline unsigned cpuid_slot(uint32_t leaf, uint32_t subleaf)
{
    return (leaf + (leaf >> 29) + subleaf) & (CPUID_ENTRIES - 1);
}

struct cpu_bus;
struct accel;
struct cpu_model;
struct code_map;
struct paging;
struct interp;
struct window;

/* What holds events back for one instruction; MOV SS holds back debug traps and NMI too. */
enum cpu_shadow { SHADOW_NONE, SHADOW_STI, SHADOW_MOV_SS };

struct cpu {
    /* -- hot: addressed by generated code; the first 128 bytes have short displacements -- */
    struct tlb *tlb;        /* mmu[index of the current mode] */
    _Atomic uint32_t event; /* enum cpu_event bits, polled at safe points */
    uint32_t eflags; /* complete architectural EFLAGS, arithmetic flags included; bit 1 set */
    uint32_t mode;   /* enum cpu_mode_bit */
    uint32_t mxcsr;
    uint64_t rip;
    uint64_t next_rip;
    uint64_t engine[46]; /* scratch of the engine that runs this CPU */
    uint64_t gpr[18]; /* 0-15 guest registers, REG_ZERO, REG_IP slot (scratch of the interpreter) */
    struct tlb *mmu[MMU_COUNT]; /* TLBs of the current address space */
    struct segment seg[SEG_COUNT];
    union vector xmm[16];
    struct x87 x87;

    /* -- system state -- */
    uint64_t cr0, cr2, cr3, cr4, cr8, xcr0, efer;
    uint64_t dr[8];
    struct { uint64_t base; uint16_t limit; } gdtr, idtr;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_offset, tsc_aux, misc_enable;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    bool halted;         /* HLT/MWAIT/wait-for-SIPI: runs again on an event */
    bool wait_sipi;
    bool nmi_blocked;
    uint8_t shadow;      /* enum cpu_shadow: events are held back for one instruction */
    bool shutdown;       /* triple fault: only a reset helps */
    bool mwait_break;    /* MWAIT with ECX[0]: an interrupt ends the wait though IF is clear */
    _Atomic uint8_t sipi_vector; /* set by the board before it posts EVENT_SIPI */
    uint64_t pdpte[4];   /* PAE paging: loaded with CR3 */
    uint64_t debug_ctl, spec_ctrl, mcg_status;
    uint64_t instructions; /* retired, as counted by whichever engine ran */

    /* -- not architectural -- */
    struct cpu_bus *bus;
    const struct accel *accel;
    void *accel_state;
    const struct cpu_model *model;
    uint64_t features[4]; /* enum cpu_feature bit set that decode() and CPUID obey */
    struct code_map *code;
    const struct insn *insn; /* being executed, when that matters to a fault (may be NULL) */
    struct {             /* exception being delivered, for double and triple faults */
        int vector;      /* -1 none */
        bool external;   /* not an INT instruction: error codes of faults have EXT set */
    } fault;
    struct {             /* exception raised by an instruction, not delivered yet */
        int vector;      /* -1 none */
        uint32_t error;
    } raised;
    uint32_t debug_hits; /* DR6 bits of the current instruction's data and I/O breakpoints */
    bool step_inhibit;   /* the instruction entered a handler: no single-step trap after it */
    struct {             /* host entropy taken in advance for RDRAND */
        uint8_t bytes[64];
        unsigned left;
    } random;
    struct interp *interp; /* decoded blocks; every engine interprets at times */
    struct paging *paging; /* TLBs of all address spaces (cpu/paging.c) */
    struct window *window; /* NULL: the engine uses none */
    bool windowed;       /* the current address space has it */
    struct tlb *watch;   /* never hits: cpu->tlb while accesses are watched (#AC, breakpoints) */
    struct cpuid_entry cpuid[CPUID_ENTRIES];
    uint64_t cpuid_epoch; /* counts what may change a result: mode, CR4, XCR0, the APIC's base */
    /* FLAG_IF >> 8 if an interrupt may be waiting that only a clear IF holds back; else 0. Generated code
     * may set IF by itself only while it is 0. */
    uint32_t held_interrupt;
    bool failed;         /* the engine found itself wrong (--verify): CPU_EXIT_FAILED */
    sigjmp_buf unwind;   /* cpu_raise() lands here */
    int index;           /* 0 is the bootstrap processor */
};

static inline unsigned cpu_cpl(const struct cpu *cpu)
{
    return cpu->mode & MODE_CPL;
}

static inline enum mmu_index cpu_mmu(const struct cpu *cpu)
{
    return (enum mmu_index)((cpu->mode >> MODE_MMU_SHIFT) & 3);
}

#endif
