/*
 * AC'97 audio: the controller of the 82801AA (ICH) and a two-channel codec with variable rates.
 *
 * Specifications: ICH AC '97 programmer's reference (298028): 2 (registers, buffer descriptor
 * lists); Audio Codec '97 revision 2.3, 5.7 (codec registers), 5.8.4 (variable rates).
 *
 * Each engine walks a ring of 32 buffer descriptors from CIV to LVI:
 *
 *     +0  address (even)
 *     +4  samples (16-bit values, both channels counted) | IOC (bit 31) | BUP (bit 30)
 *
 * PCM out goes to the mixer. PCM in and microphone run at their rates and record silence: no input
 * is connected. Volumes are applied for master and PCM out.
 *
 * Not modelled: the modem, secondary codecs, S/PDIF, more than two channels, power-down of parts.
 */
#include "hw/audio/ac97.h"
#include "hw/audio/voice.h"
#include "hw/alloc.h"

#include <math.h>
#include <string.h>

/* -- Bus master registers (native audio bus master, BAR 1) -- */

enum { ENGINE_IN, ENGINE_OUT, ENGINE_MIC, ENGINES };
#define ENGINE_STRIDE 0x10
enum engine_register {
    E_BDBAR = 0,
    E_CIV = 4,
    E_LVI = 5,
    E_SR = 6,
    E_PICB = 8,
    E_PIV = 10,
    E_CR = 11
};
#define REG_GLOB_CNT   0x2c
#define REG_GLOB_STA   0x30
#define REG_CAS        0x34

#define SR_HALTED      0x01
#define SR_LAST        0x02 /* CIV equals LVI and its buffer is used up */
#define SR_LVBCI       0x04
#define SR_BCIS        0x08
#define SR_FIFOE       0x10
#define CR_RUN         0x01
#define CR_RESET       0x02
#define CR_LVBIE       0x04
#define CR_FEIE        0x08
#define CR_IOCE        0x10

#define GLOB_CNT_COLD  0x00000002u /* 0 holds the link in reset */
#define GLOB_CNT_WARM  0x00000004u
#define GLOB_STA_READY 0x00000100u

#define DESCRIPTOR_IOC 0x80000000u
#define DESCRIPTOR_BUP 0x40000000u
#define RING           32

/* -- Codec registers (native audio mixer, BAR 0) -- */

enum codec_register {
    C_RESET = 0x00,
    C_MASTER = 0x02,
    C_PCM_OUT = 0x18,
    C_RECORD_SELECT = 0x1a,
    C_POWER = 0x26,
    C_EXTENDED_ID = 0x28,
    C_EXTENDED = 0x2a,
    C_RATE_OUT = 0x2c,
    C_RATE_IN = 0x32,
    C_RATE_MIC = 0x34,
    C_VENDOR1 = 0x7c,
    C_VENDOR2 = 0x7e,
};
#define MUTE         0x8000
#define EXTENDED_VRA 0x0001
#define EXTENDED_VRM 0x0008
#define CODEC_READY  0x000f /* ADC, DAC, mixer, references */

#define RATE_MIN     8000
#define RATE_MAX     48000

struct engine {
    uint32_t bdbar;
    uint8_t civ, lvi, piv, cr;
    uint16_t sr, picb;
    /* The descriptor in progress. */
    uint32_t address, flags;
    struct voice voice;
};

struct ac97 {
    struct pci_device pci;
    struct engine engine[ENGINES];
    uint32_t glob_cnt;
    bool semaphore; /* CAS */
    uint16_t codec[64];
    struct mixer *mixer;
    struct mixer_source source;
};

static const struct field engine_fields[] = {
    FIELD(struct engine, bdbar, 1),
    FIELD(struct engine, civ, 1),
    FIELD(struct engine, lvi, 1),
    FIELD(struct engine, piv, 1),
    FIELD(struct engine, cr, 1),
    FIELD(struct engine, sr, 1),
    FIELD(struct engine, picb, 1),
    FIELD(struct engine, address, 1),
    FIELD(struct engine, flags, 1),
    FIELD_STRUCT(struct engine, voice, voice_fields, 1),
    FIELD_END,
};

static const struct field ac97_fields[] = {
    FIELD_STRUCT(struct ac97, pci, pci_device_fields, 1),
    FIELD_STRUCTS(struct ac97, engine, engine_fields, 1),
    FIELD(struct ac97, glob_cnt, 1),
    FIELD(struct ac97, semaphore, 1),
    FIELD_ARRAY(struct ac97, codec, 1),
    FIELD_END,
};

/* -- Interrupts -- */

static bool engine_interrupts(const struct engine *engine)
{
    return ((engine->sr & SR_LVBCI) && (engine->cr & CR_LVBIE)) ||
           ((engine->sr & SR_BCIS) && (engine->cr & CR_IOCE)) ||
           ((engine->sr & SR_FIFOE) && (engine->cr & CR_FEIE));
}

static uint32_t glob_sta(const struct ac97 *ac97)
{
    static const uint8_t bit[ENGINES] = {5, 6, 7};
    uint32_t status = ac97->glob_cnt & GLOB_CNT_COLD ? GLOB_STA_READY : 0;
    for (int i = 0; i < ENGINES; i++)
        status |= (uint32_t)engine_interrupts(&ac97->engine[i]) << bit[i];
    return status;
}

static void update_irq(struct ac97 *ac97)
{
    pci_set_irq(&ac97->pci, glob_sta(ac97) & 0xe0);
}

/* -- Descriptors -- */

static bool running(const struct engine *engine)
{
    return (engine->cr & CR_RUN) && !(engine->sr & SR_HALTED);
}

/* Takes the descriptor that PIV names. */
static void fetch_descriptor(struct ac97 *ac97, struct engine *engine)
{
    uint32_t entry[2] = {0};
    engine->civ = engine->piv;
    engine->piv = (uint8_t)((engine->piv + 1) % RING);
    pci_dma_read(&ac97->pci, engine->bdbar + 8u * engine->civ, entry, sizeof entry);
    engine->address = entry[0] & ~1u;
    engine->flags = entry[1] & 0xffff0000;
    engine->picb = (uint16_t)entry[1];
}

static void end_buffer(struct ac97 *ac97, struct engine *engine)
{
    if (engine->flags & DESCRIPTOR_IOC)
        engine->sr |= SR_BCIS;
    if (engine->civ == engine->lvi) {
        engine->sr |= SR_LVBCI | SR_LAST | SR_HALTED;
        if (engine->flags & DESCRIPTOR_BUP)
            memset(engine->voice.now, 0, sizeof engine->voice.now);
    } else {
        fetch_descriptor(ac97, engine);
    }
    update_irq(ac97);
}

/* One engine at work, for voice_step. */
struct transfer {
    struct ac97 *ac97;
    struct engine *engine;
    bool record;
};

/* Moves one frame between memory and the engine. Buffers of no samples are passed over, at most a
 * ring of them. */
static bool move_frame(void *opaque, int16_t frame[2])
{
    static const int16_t silence[2];
    struct transfer *transfer = opaque;
    struct ac97 *ac97 = transfer->ac97;
    struct engine *engine = transfer->engine;
    for (int i = 0; i < RING && running(engine) && engine->picb < 2; i++)
        end_buffer(ac97, engine);
    if (!running(engine) || engine->picb < 2)
        return false;
    if (transfer->record)
        pci_dma_write(&ac97->pci, engine->address, silence, sizeof silence);
    else
        pci_dma_read(&ac97->pci, engine->address, frame, 2 * sizeof *frame);
    engine->address += sizeof silence;
    engine->picb -= 2;
    if (engine->picb < 2)
        end_buffer(ac97, engine);
    return true;
}

/* -- Sound -- */

/* Attenuation of 1.5 dB a step, as a factor of 65536. */
static int32_t gain(uint16_t reg, unsigned shift, unsigned steps_at_0db)
{
    int steps = (reg >> shift & 0x1f) - (int)steps_at_0db;
    if (reg & MUTE)
        return 0;
    return (int32_t)(65536 * pow(10, -1.5 * steps / 20));
}

static unsigned engine_rate(const struct ac97 *ac97, int number)
{
    static const struct {
        enum codec_register reg;
        uint16_t variable;
    } rate[ENGINES] = {
        [ENGINE_IN] = {C_RATE_IN, EXTENDED_VRA},
        [ENGINE_OUT] = {C_RATE_OUT, EXTENDED_VRA},
        [ENGINE_MIC] = {C_RATE_MIC, EXTENDED_VRM},
    };
    return ac97->codec[C_EXTENDED / 2] & rate[number].variable ? ac97->codec[rate[number].reg / 2]
                                                               : RATE_MAX;
}

/* Plays or records what is due in `count` frames of the mixer's. */
static void run_engine(struct ac97 *ac97, int number, int32_t *mix, size_t count)
{
    struct engine *engine = &ac97->engine[number];
    struct transfer transfer = {ac97, engine, number != ENGINE_OUT};
    uint16_t master = ac97->codec[C_MASTER / 2], pcm = ac97->codec[C_PCM_OUT / 2];
    int64_t left = (int64_t)gain(master, 8, 0) * gain(pcm, 8, 8) >> 16;
    int64_t right = (int64_t)gain(master, 0, 0) * gain(pcm, 0, 8) >> 16;
    unsigned rate = engine_rate(ac97, number);
    for (size_t i = 0; i < count && running(engine); i++) {
        int32_t out[2];
        voice_step(&engine->voice, rate, move_frame, &transfer, out);
        if (!transfer.record) {
            mix[2 * i] += (int32_t)(out[0] * left >> 16);
            mix[2 * i + 1] += (int32_t)(out[1] * right >> 16);
        }
    }
}

static bool render(void *device, int32_t *mix, size_t count)
{
    struct ac97 *ac97 = device;
    bool any = false;
    for (int e = 0; e < ENGINES; e++) {
        run_engine(ac97, e, mix, count);
        any |= running(&ac97->engine[e]);
    }
    return any;
}

static size_t next_interrupt(void *device, bool *unanswered)
{
    struct ac97 *ac97 = device;
    size_t next = MIXER_RATE;
    for (int e = 0; e < ENGINES; e++) {
        const struct engine *engine = &ac97->engine[e];
        if (!running(engine))
            continue;
        size_t steps = voice_steps(&engine->voice, engine_rate(ac97, e),
                                   engine->picb < 2 ? 1 : engine->picb / 2);
        if (steps < next)
            next = steps;
        *unanswered |= (engine->flags & DESCRIPTOR_IOC) && engine_interrupts(engine);
    }
    return next;
}

/* -- Engines' registers -- */

static void reset_engine(struct engine *engine)
{
    *engine = (struct engine){.sr = SR_HALTED};
}

static void write_control(struct ac97 *ac97, struct engine *engine, uint8_t value)
{
    bool ran = engine->cr & CR_RUN;
    if (value & CR_RESET) {
        if (!ran)
            reset_engine(engine);
        return;
    }
    engine->cr = value & (CR_RUN | CR_LVBIE | CR_FEIE | CR_IOCE);
    if (!ran && (value & CR_RUN)) {
        engine->sr &= (uint16_t) ~(SR_HALTED | SR_LAST);
        if (engine->picb < 2) /* not a pause that ends */
            fetch_descriptor(ac97, engine);
        mixer_wake(ac97->mixer, &ac97->source);
    } else if (ran && !(value & CR_RUN)) {
        engine->sr |= SR_HALTED;
    }
}

static void write_last_valid(struct ac97 *ac97, struct engine *engine, uint8_t value)
{
    engine->lvi = value % RING;
    if ((engine->cr & CR_RUN) && (engine->sr & SR_HALTED)) { /* there is more to play */
        engine->sr &= (uint16_t) ~(SR_HALTED | SR_LAST);
        fetch_descriptor(ac97, engine);
        mixer_wake(ac97->mixer, &ac97->source);
    }
}

static uint8_t read_engine(const struct engine *engine, unsigned reg)
{
    switch (reg) {
    case E_BDBAR ... E_BDBAR + 3:
        return (uint8_t)(engine->bdbar >> (8 * reg));
    case E_CIV:
        return engine->civ;
    case E_LVI:
        return engine->lvi;
    case E_SR ... E_SR + 1:
        return (uint8_t)(engine->sr >> (8 * (reg - E_SR)));
    case E_PICB ... E_PICB + 1:
        return (uint8_t)(engine->picb >> (8 * (reg - E_PICB)));
    case E_PIV:
        return engine->piv;
    case E_CR:
        return engine->cr;
    default:
        return 0;
    }
}

static void write_engine(struct ac97 *ac97, struct engine *engine, unsigned reg, uint8_t value)
{
    switch (reg) {
    case E_BDBAR ... E_BDBAR + 3:
        engine->bdbar = (engine->bdbar & ~(0xffu << (8 * reg))) | (uint32_t)value << (8 * reg);
        engine->bdbar &= ~7u;
        break;
    case E_LVI:
        write_last_valid(ac97, engine, value);
        break;
    case E_SR:
        engine->sr &= (uint16_t) ~(value & (SR_LVBCI | SR_BCIS | SR_FIFOE));
        break;
    case E_CR:
        write_control(ac97, engine, value);
        break;
    }
    update_irq(ac97);
}

static void reset_codec(struct ac97 *ac97)
{
    static const struct {
        uint8_t reg;
        uint16_t value;
    } initial[] = {
        {C_MASTER, 0x8000},
        {0x04, 0x8000},
        {0x06, 0x8000},
        {0x0c, 0x8008},
        {0x0e, 0x8008},
        {0x10, 0x8808},
        {0x12, 0x8808},
        {0x14, 0x8808},
        {0x16, 0x8808},
        {C_PCM_OUT, 0x8808},
        {0x1c, 0x8000},
        {C_POWER, CODEC_READY},
        {C_EXTENDED_ID, EXTENDED_VRA | EXTENDED_VRM},
        {C_RATE_OUT, 48000},
        {C_RATE_IN, 48000},
        {C_RATE_MIC, 48000},
        {C_VENDOR1, 0x8384},
        {C_VENDOR2, 0x7600}, /* SigmaTel STAC9700 */
    };
    memset(ac97->codec, 0, sizeof ac97->codec);
    for (size_t i = 0; i < sizeof initial / sizeof *initial; i++)
        ac97->codec[initial[i].reg / 2] = initial[i].value;
}

static void write_global(struct ac97 *ac97, uint32_t value)
{
    bool was_up = ac97->glob_cnt & GLOB_CNT_COLD;
    ac97->glob_cnt = value & 0x3f & ~GLOB_CNT_WARM; /* a warm reset ends at once */
    if (was_up && !(value & GLOB_CNT_COLD))
        reset_codec(ac97);
    update_irq(ac97);
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ac97 *ac97 = opaque;
    uint32_t value = 0;
    mixer_sync(ac97->mixer);
    if (offset >= REG_CAS) {
        value = offset == REG_CAS && ac97->semaphore;
        ac97->semaphore |= offset == REG_CAS;
        return value;
    }
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)offset + i;
        uint8_t byte = 0;
        if (at < ENGINES * ENGINE_STRIDE && at % ENGINE_STRIDE < 12 && at < REG_GLOB_CNT)
            byte = read_engine(&ac97->engine[at / ENGINE_STRIDE], at % ENGINE_STRIDE);
        else if (at >= REG_GLOB_STA && at < REG_GLOB_STA + 4)
            byte = (uint8_t)(glob_sta(ac97) >> (8 * (at - REG_GLOB_STA)));
        else if (at >= REG_GLOB_CNT && at < REG_GLOB_CNT + 4)
            byte = (uint8_t)(ac97->glob_cnt >> (8 * (at - REG_GLOB_CNT)));
        value |= (uint32_t)byte << (8 * i);
    }
    return value;
}

static void master_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ac97 *ac97 = opaque;
    mixer_sync(ac97->mixer);
    if (offset == REG_CAS) {
        ac97->semaphore = value & 1;
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)offset + i;
        uint8_t byte = (uint8_t)(value >> (8 * i));
        if (at < REG_GLOB_CNT)
            write_engine(ac97, &ac97->engine[at / ENGINE_STRIDE], at % ENGINE_STRIDE, byte);
        else if (at == REG_GLOB_CNT)
            write_global(ac97, (ac97->glob_cnt & ~0xffu) | byte);
    }
}

static const struct access_ops master_ops = {master_read, master_write, 1, 4};

/* -- Codec -- */

static uint64_t codec_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ac97 *ac97 = opaque;
    ac97->semaphore = false;
    return offset < 0x80 ? ac97->codec[offset / 2] : 0xffff;
}

static void codec_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ac97 *ac97 = opaque;
    uint16_t *reg = &ac97->codec[(offset & 0x7f) / 2];
    ac97->semaphore = false;
    switch (offset) {
    case C_RESET:
        reset_codec(ac97);
        break;
    case C_MASTER ... 0x1f:
        *reg = (uint16_t)value & (offset == C_MASTER || offset == 0x04 ? 0x9f1f : 0xffff);
        break;
    case 0x20:
    case 0x22:
        *reg = (uint16_t)value;
        break;
    case C_POWER: /* the parts stay ready */
        *reg = (uint16_t)((value & 0xff00) | CODEC_READY);
        break;
    case C_EXTENDED:
        *reg = value & (EXTENDED_VRA | EXTENDED_VRM);
        if (!(value & EXTENDED_VRA))
            ac97->codec[C_RATE_OUT / 2] = ac97->codec[C_RATE_IN / 2] = RATE_MAX;
        if (!(value & EXTENDED_VRM))
            ac97->codec[C_RATE_MIC / 2] = RATE_MAX;
        break;
    case C_RATE_OUT:
    case C_RATE_IN:
        if (ac97->codec[C_EXTENDED / 2] & EXTENDED_VRA)
            *reg = (uint16_t)(value < RATE_MIN ? RATE_MIN : value > RATE_MAX ? RATE_MAX : value);
        break;
    case C_RATE_MIC:
        if (ac97->codec[C_EXTENDED / 2] & EXTENDED_VRM)
            *reg = (uint16_t)(value < RATE_MIN ? RATE_MIN : value > RATE_MAX ? RATE_MAX : value);
        break;
    default: /* read-only, or not there */
        break;
    }
}

static const struct access_ops codec_ops = {codec_read, codec_write, 2, 2};

/* -- Life -- */

static void ac97_reset(struct device *device)
{
    struct ac97 *ac97 = (struct ac97 *)device;
    pci_device_reset(&ac97->pci);
    for (int i = 0; i < ENGINES; i++)
        reset_engine(&ac97->engine[i]);
    ac97->glob_cnt = 0;
    ac97->semaphore = false;
    reset_codec(ac97);
}

static bool ac97_post_load(struct device *device, struct error *error)
{
    struct ac97 *ac97 = (struct ac97 *)device;
    if (!pci_device_post_load(&ac97->pci, error))
        return false;
    for (int i = 0; i < ENGINES; i++) {
        const struct engine *engine = &ac97->engine[i];
        if (engine->civ >= RING || engine->lvi >= RING || engine->piv >= RING ||
            !voice_valid(&engine->voice))
            return error_set(error, "The saved state of the AC'97 controller is damaged");
        if (running(engine))
            mixer_wake(ac97->mixer, &ac97->source);
    }
    static const enum codec_register rates[] = {C_RATE_OUT, C_RATE_IN, C_RATE_MIC};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        if (ac97->codec[rates[i] / 2] < RATE_MIN || ac97->codec[rates[i] / 2] > RATE_MAX)
            return error_set(error, "The saved AC'97 codec has an impossible rate");
    update_irq(ac97);
    return true;
}

static void ac97_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops ac97_device_ops = {
    .name = "ac97",
    .fields = ac97_fields,
    .version = 1,
    .reset = ac97_reset,
    .post_load = ac97_post_load,
    .destroy = ac97_destroy,
};

struct ac97 *ac97_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                      struct mixer *mixer, const char *id)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x2415,
        .revision = 1,
        .class_code = 0x0401,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
        .interrupt_pin = 1,
    };
    struct ac97 *ac97 = alloc_zeroed(sizeof *ac97);

    device_add(list, &ac97->pci.device, &ac97_device_ops, id);
    pci_device_init(&ac97->pci, bus, devfn, &identity);
    pci_add_io_bar(&ac97->pci, 0, 256, &codec_ops, ac97);
    pci_add_io_bar(&ac97->pci, 1, 64, &master_ops, ac97);
    ac97->mixer = mixer;
    ac97->source =
        (struct mixer_source){.render = render, .next_interrupt = next_interrupt, .device = ac97};
    mixer_add(mixer, &ac97->source);
    return ac97;
}
