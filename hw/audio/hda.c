/*
 * Intel High Definition Audio controller, as in the ICH6 and ICH9, with four input and four output
 * streams. Specification: High Definition Audio 1.0a, 3 (registers), 4 (programming model), 5.3
 * (formats). The codec: hda_codec.c.
 *
 *     CORB -> command -> codec -> answer -> RIRB        rings of 256 in the guest's memory
 *
 *     stream: buffer descriptors 0 to LVI, again and again, 16 bytes each:
 *         +0  address (64 bits)   +8  length   +12  IOC (bit 0)
 *
 * Streams run at their rates by the mixer's clock. An output stream that the codec's converter
 * listens to is heard; one that nobody listens to moves all the same. Input streams record silence.
 *
 * Not modelled: bidirectional streams, striping, traffic priority.
 */
#include "hw/audio/hda.h"
#include "hw/audio/hda_codec.h"
#include "hw/audio/voice.h"
#include "hw/alloc.h"
#include "hw/pci_msi.h"
#include "hw/pci_power.h"

#include <string.h>

/* -- Registers (3.3) -- */

enum hda_register {
    GCAP = 0x00,
    VMIN = 0x02,
    VMAJ = 0x03,
    OUTPAY = 0x04,
    INPAY = 0x06,
    GCTL = 0x08,
    WAKEEN = 0x0c,
    STATESTS = 0x0e,
    GSTS = 0x10,
    INTCTL = 0x20,
    INTSTS = 0x24,
    WALCLK = 0x30,
    SSYNC_ICH = 0x34,
    SSYNC = 0x38,
    CORBLBASE = 0x40,
    CORBUBASE = 0x44,
    CORBWP = 0x48,
    CORBRP = 0x4a,
    CORBCTL = 0x4c,
    CORBSTS = 0x4d,
    CORBSIZE = 0x4e,
    RIRBLBASE = 0x50,
    RIRBUBASE = 0x54,
    RIRBWP = 0x58,
    RINTCNT = 0x5a,
    RIRBCTL = 0x5c,
    RIRBSTS = 0x5d,
    RIRBSIZE = 0x5e,
    ICW = 0x60,
    IRR = 0x64,
    ICS = 0x68,
    DPLBASE = 0x70,
    DPUBASE = 0x74,
    STREAM0 = 0x80,
    /* within a stream */
    SD_CTL = 0x00,
    SD_STS = 0x03,
    SD_LPIB = 0x04,
    SD_CBL = 0x08,
    SD_LVI = 0x0c,
    SD_FIFOS = 0x10,
    SD_FMT = 0x12,
    SD_BDPL = 0x18,
    SD_BDPU = 0x1c,
};
#define STREAM_STRIDE  0x20
#define INPUTS         4
#define OUTPUTS        4
#define STREAMS        (INPUTS + OUTPUTS)
#define REGISTERS      (STREAM0 + STREAMS * STREAM_STRIDE)
#define BAR_SIZE       0x4000
#define ALIAS          0x2000 /* WALCLK and the streams' LPIB once more, in pages of their own */

#define GCTL_CRST      0x01u
#define GCTL_UNSOL     0x100u
#define INT_GLOBAL     0x80000000u
#define INT_CONTROLLER 0x40000000u
#define POINTER_RESET  0x8000u
#define RING           256u
#define CORB_INTERRUPT 0x01u /* of memory errors: CORBCTL and CORBSTS */
#define CORB_RUN       0x02u
#define RIRB_INTERRUPT 0x01u /* RIRBCTL and RIRBSTS */
#define RIRB_RUN       0x02u
#define ICS_BUSY       0x01u
#define ICS_VALID      0x02u
#define DPL_ENABLE     0x01u

#define SD_RESET       0x01u
#define SD_RUN         0x02u
#define SD_IOCE        0x04u
#define SD_FEIE        0x08u
#define SD_DEIE        0x10u
#define SD_BCIS        0x04u
#define SD_FIFOE       0x08u
#define SD_DESE        0x10u
#define SD_FIFORDY     0x20u
#define SD_TAG(ctl)    ((ctl) >> 20 & 15)

#define DESCRIPTOR_IOC 1u
#define PIECES_MAX     4u
#define FRAME_MAX      64u /* 16 channels of 4 bytes */
#define POSITION_AGE   96u /* frames: the positions in memory are at most 2 ms old */
#define WALCLK_HZ      24000000u

#define PCI_TCSEL      0x44 /* traffic class: a register of the ICH that drivers clear */
#define PCI_POWER      0x50
#define PCI_MSI        0x60

struct stream {
    /* The descriptor in progress; `left` is 0 before the first. */
    uint16_t entry;
    uint64_t address;
    uint32_t left, flags;
    struct voice voice;
};

struct hda {
    struct pci_device pci;
    uint8_t reg[REGISTERS];
    struct stream stream[STREAMS];
    uint16_t answers; /* since the last response interrupt */
    uint64_t wall_ns; /* when the wall clock was 0 */
    struct hda_codec codec;
    struct clock *clock;
    struct mixer *mixer;
    struct mixer_source source;
    uint32_t notified; /* INTSTS as the guest was last told (derived) */
};

static const struct field stream_fields[] = {
    FIELD(struct stream, entry, 1),
    FIELD(struct stream, address, 1),
    FIELD(struct stream, left, 1),
    FIELD(struct stream, flags, 1),
    FIELD_STRUCT(struct stream, voice, voice_fields, 1),
    FIELD_END,
};

static const struct field hda_fields[] = {
    FIELD_STRUCT(struct hda, pci, pci_device_fields, 1),
    FIELD_ARRAY(struct hda, reg, 1),
    FIELD_STRUCTS(struct hda, stream, stream_fields, 1),
    FIELD(struct hda, answers, 1),
    FIELD(struct hda, wall_ns, 1),
    FIELD_STRUCT(struct hda, codec, hda_codec_fields, 1),
    FIELD_END,
};

static uint32_t get(const struct hda *hda, unsigned reg, unsigned size)
{
    return pci_get(hda->reg, reg, size);
}

static void put(struct hda *hda, unsigned reg, uint32_t value, unsigned size)
{
    pci_put(hda->reg, reg, value, size);
}

static uint64_t base_of(const struct hda *hda, unsigned low)
{
    return (uint64_t)get(hda, low + 4, 4) << 32 | (get(hda, low, 4) & ~0x7fu);
}

static unsigned stream_reg(unsigned number, unsigned reg)
{
    return STREAM0 + number * STREAM_STRIDE + reg;
}

static uint32_t stream_control(const struct hda *hda, unsigned number)
{
    return get(hda, stream_reg(number, SD_CTL), 3);
}

static void stream_status(struct hda *hda, unsigned number, uint8_t set)
{
    hda->reg[stream_reg(number, SD_STS)] |= set;
}

/* -- Interrupts (3.3.14, 3.3.15) -- */

static bool stream_interrupts(const struct hda *hda, unsigned number)
{
    uint32_t enabled = stream_control(hda, number);
    return enabled & hda->reg[stream_reg(number, SD_STS)] & (SD_BCIS | SD_FIFOE | SD_DESE);
}

static uint32_t interrupt_status(const struct hda *hda)
{
    uint32_t status = 0;
    for (unsigned i = 0; i < STREAMS; i++)
        status |= (uint32_t)stream_interrupts(hda, i) << i;
    if ((hda->reg[CORBCTL] & hda->reg[CORBSTS] & CORB_INTERRUPT) ||
        (hda->reg[RIRBCTL] & hda->reg[RIRBSTS] & RIRB_INTERRUPT) ||
        (get(hda, WAKEEN, 2) & get(hda, STATESTS, 2)))
        status |= INT_CONTROLLER;
    return status & get(hda, INTCTL, 4) ? status | INT_GLOBAL : status;
}

/* A message goes out for each new cause, and for those that are left when the guest answers. */
static void update_irq(struct hda *hda, bool answered)
{
    uint32_t enabled = get(hda, INTCTL, 4), status = interrupt_status(hda);
    uint32_t causes = enabled & INT_GLOBAL ? status & enabled & ~INT_GLOBAL : 0;
    if (causes & ~(answered ? 0 : hda->notified))
        pci_notify(&hda->pci, 0);
    hda->notified = causes;
    pci_set_irq(&hda->pci, causes);
}

/* -- Commands (4.4) -- */

static void answer(struct hda *hda, uint32_t response)
{
    uint32_t entry[2] = {response, 0 /* codec 0, solicited */};
    if (!(hda->reg[RIRBCTL] & RIRB_RUN))
        return;
    uint32_t wp = (get(hda, RIRBWP, 2) + 1) % RING;
    put(hda, RIRBWP, wp, 2);
    pci_dma_write(&hda->pci, base_of(hda, RIRBLBASE) + 8 * wp, entry, sizeof entry);
    hda->answers++;
}

/* Carries out what lies in the ring; a response interrupt comes after RINTCNT answers or when there
 * are no more commands. */
static void run_corb(struct hda *hda)
{
    uint32_t rp = get(hda, CORBRP, 2), wp = get(hda, CORBWP, 2), most = hda->reg[RINTCNT];
    if (!(hda->reg[CORBCTL] & CORB_RUN) || rp & POINTER_RESET)
        return;
    while (rp != wp) {
        uint32_t command;
        rp = (rp + 1) % RING;
        if (!pci_dma_read(&hda->pci, base_of(hda, CORBLBASE) + 4 * rp, &command, sizeof command)) {
            hda->reg[CORBSTS] |= CORB_INTERRUPT;
            hda->reg[CORBCTL] &= (uint8_t)~CORB_RUN;
            break;
        }
        if (command >> 28 == 0) /* nobody else is on the link */
            answer(hda, hda_codec_command(&hda->codec, command));
        if (hda->answers && (rp == wp || hda->answers == (most ? most : RING))) {
            hda->answers = 0;
            hda->reg[RIRBSTS] |= RIRB_INTERRUPT;
        }
    }
    put(hda, CORBRP, rp, 2);
}

static void immediate_command(struct hda *hda)
{
    uint32_t command = get(hda, ICW, 4);
    if (!(get(hda, ICS, 2) & ICS_BUSY))
        return;
    if (command >> 28 != 0) /* stays busy: no codec there */
        return;
    put(hda, IRR, hda_codec_command(&hda->codec, command), 4);
    put(hda, ICS, ICS_VALID, 2);
}

/* -- Streams (4.5) -- */

struct format {
    unsigned rate, channels, bytes; /* bytes of a sample's container */
};

/* False for formats that the specification reserves, and for 8 bits: the codec has none. */
static bool stream_format(const struct hda *hda, unsigned number, struct format *format)
{
    static const uint8_t bytes[8] = {0, 2, 4, 4, 4};
    uint32_t fmt = get(hda, stream_reg(number, SD_FMT), 2);
    unsigned multiple = (fmt >> 11 & 7) + 1, divisor = (fmt >> 8 & 7) + 1;
    format->bytes = bytes[fmt >> 4 & 7];
    format->channels = (fmt & 15) + 1;
    format->rate = (fmt & 0x4000 ? 44100 : 48000) * multiple / divisor;
    return multiple <= 4 && format->bytes && !(fmt & 0x8000);
}

/* The ICH has the synchronization register elsewhere than the specification: drivers know both. */
static bool running(const struct hda *hda, unsigned number, struct format *format)
{
    bool held_back = (get(hda, SSYNC, 4) | get(hda, SSYNC_ICH, 4)) >> number & 1;
    return (stream_control(hda, number) & SD_RUN) && !held_back &&
           stream_format(hda, number, format);
}

static void stop_with_error(struct hda *hda, unsigned number)
{
    stream_status(hda, number, SD_DESE);
    hda->reg[stream_reg(number, SD_CTL)] &= (uint8_t)~SD_RUN;
    hda->reg[stream_reg(number, SD_STS)] &= (uint8_t)~SD_FIFORDY;
    hda->stream[number].left = 0;
}

/* Takes descriptor `entry`, or the first one behind the last; false if it is none. */
static bool fetch_descriptor(struct hda *hda, unsigned number, uint32_t entry)
{
    struct stream *stream = &hda->stream[number];
    struct {
        uint64_t address;
        uint32_t length, flags;
    } descriptor;
    if (entry > get(hda, stream_reg(number, SD_LVI), 1))
        entry = 0;
    if (!pci_dma_read(&hda->pci,
                      base_of(hda, stream_reg(number, SD_BDPL)) + sizeof descriptor * entry,
                      &descriptor, sizeof descriptor))
        return false;
    stream->entry = (uint16_t)entry;
    stream->address = descriptor.address;
    stream->left = descriptor.length;
    stream->flags = descriptor.flags;
    return stream->left > 0;
}

/* The link's position in the cyclic buffer, which the descriptors make up. */
static void move_position(struct hda *hda, unsigned number, uint32_t bytes)
{
    uint32_t length = get(hda, stream_reg(number, SD_CBL), 4);
    uint32_t position = get(hda, stream_reg(number, SD_LPIB), 4) + bytes;
    if (length && position >= length)
        position = (position - length) % length;
    put(hda, stream_reg(number, SD_LPIB), position, 4);
}

/* Moves `count` bytes between `data` and the stream's buffers, to these if it is an input. A frame
 * in more pieces than PIECES_MAX is no sensible list. */
static bool move_bytes(struct hda *hda, unsigned number, uint8_t *data, uint32_t count)
{
    struct stream *stream = &hda->stream[number];
    move_position(hda, number, count);
    for (unsigned pieces = 0; count; pieces++) {
        uint32_t piece = count < stream->left ? count : stream->left;
        bool ok = number < INPUTS ? pci_dma_write(&hda->pci, stream->address, data, piece)
                                  : pci_dma_read(&hda->pci, stream->address, data, piece);
        stream->address += piece;
        stream->left -= piece;
        data += piece;
        count -= piece;
        if (stream->left == 0 && ok) {
            if (stream->flags & DESCRIPTOR_IOC)
                stream_status(hda, number, SD_BCIS);
            ok = fetch_descriptor(hda, number, stream->entry + 1u) && pieces < PIECES_MAX;
        }
        if (!ok) {
            stop_with_error(hda, number);
            return false;
        }
    }
    return true;
}

/* One stream at work, for voice_step. */
struct transfer {
    struct hda *hda;
    unsigned number;
    struct format format;
    int channel; /* first of those that are heard, or -1 */
};

/* Samples are aligned to the top of their containers: the upper 16 bits are played. */
static int16_t sample(const uint8_t *data, const struct format *format, unsigned channel)
{
    const uint8_t *top = data + (channel + 1) * format->bytes - 2;
    return (int16_t)(top[0] | top[1] << 8);
}

static bool next_frame(void *opaque, int16_t frame[2])
{
    struct transfer *transfer = opaque;
    const struct format *format = &transfer->format;
    uint8_t data[FRAME_MAX] = {0};
    if (!move_bytes(transfer->hda, transfer->number, data, format->channels * format->bytes))
        return false;
    for (int side = 0; side < 2; side++) {
        unsigned channel = (unsigned)transfer->channel + (unsigned)side;
        if (format->channels == 1)
            channel = 0;
        bool heard = transfer->channel >= 0 && channel < format->channels;
        frame[side] = heard ? sample(data, format, channel) : 0;
    }
    return true;
}

static bool run_stream(struct hda *hda, unsigned number, int32_t *mix, size_t count)
{
    struct voice *voice = &hda->stream[number].voice;
    struct transfer transfer = {.hda = hda, .number = number, .channel = -1};
    int32_t gain[2], out[2];
    bool more = running(hda, number, &transfer.format);
    if (number >= INPUTS)
        transfer.channel =
            hda_codec_output_channel(&hda->codec, SD_TAG(stream_control(hda, number)));
    hda_codec_gain(&hda->codec, gain);
    for (size_t i = 0; i < count && more; i++) {
        more = voice_step(voice, transfer.format.rate, next_frame, &transfer, out);
        mix[2 * i] += (int32_t)((int64_t)out[0] * gain[0] >> 16);
        mix[2 * i + 1] += (int32_t)((int64_t)out[1] * gain[1] >> 16);
    }
    return more;
}

/* Positions in the guest's memory (3.3.33), before the interrupts that make it look there. */
static void show_positions(struct hda *hda)
{
    uint64_t base = base_of(hda, DPLBASE);
    struct format format;
    if (!(hda->reg[DPLBASE] & DPL_ENABLE))
        return;
    for (unsigned i = 0; i < STREAMS; i++)
        if (running(hda, i, &format))
            pci_dma_write(&hda->pci, base + 8 * i, hda->reg + stream_reg(i, SD_LPIB), 4);
}

static bool render(void *device, int32_t *mix, size_t count)
{
    struct hda *hda = device;
    bool any = false;
    for (unsigned i = 0; i < STREAMS; i++)
        any |= run_stream(hda, i, mix, count);
    show_positions(hda);
    update_irq(hda, false);
    return any;
}

static size_t next_interrupt(void *device, bool *unanswered)
{
    struct hda *hda = device;
    size_t next = hda->reg[DPLBASE] & DPL_ENABLE ? POSITION_AGE : MIXER_RATE;
    for (unsigned i = 0; i < STREAMS; i++) {
        const struct stream *stream = &hda->stream[i];
        struct format format;
        if (!running(hda, i, &format) || stream->left == 0)
            continue;
        unsigned frame = format.channels * format.bytes;
        size_t steps = voice_steps(&stream->voice, format.rate, (stream->left + frame - 1) / frame);
        if (steps < next)
            next = steps;
        *unanswered |= (stream->flags & DESCRIPTOR_IOC) && (hda->notified >> i & 1);
    }
    return next;
}

/* -- What writes do -- */

static void hda_link_reset(struct hda *hda);

static void gctl_written(struct hda *hda, unsigned number, uint32_t before)
{
    uint32_t now = get(hda, GCTL, 4);
    if (!(now & GCTL_CRST) && (before & GCTL_CRST)) {
        hda_link_reset(hda);
    } else if ((now & GCTL_CRST) && !(before & GCTL_CRST)) {
        put(hda, STATESTS, 1, 2); /* the codec announces itself */
        hda->wall_ns = clock_now(hda->clock);
    }
}

static void corb_written(struct hda *hda, unsigned number, uint32_t before)
{
    if (get(hda, CORBRP, 2) & POINTER_RESET)
        put(hda, CORBRP, POINTER_RESET, 2); /* until software clears the bit */
    run_corb(hda);
}

static void rirbwp_written(struct hda *hda, unsigned number, uint32_t before)
{
    bool reset = get(hda, RIRBWP, 2) & POINTER_RESET;
    put(hda, RIRBWP, reset ? 0 : before, 2);
    if (reset)
        hda->answers = 0;
}

static void ics_written(struct hda *hda, unsigned number, uint32_t before)
{
    immediate_command(hda);
}

static void reset_stream(struct hda *hda, unsigned number)
{
    static const uint8_t fifo[2] = {0xbf, 0x77}; /* bytes less one: output, input */
    hda->stream[number] = (struct stream){0};
    memset(hda->reg + stream_reg(number, 0), 0, STREAM_STRIDE);
    hda->reg[stream_reg(number, SD_FIFOS)] = fifo[number < INPUTS];
}

static void start_stream(struct hda *hda, unsigned number)
{
    struct format format;
    if (!stream_format(hda, number, &format))
        log_guest("hda: stream format %#x is reserved, or of 8 bits",
                  get(hda, stream_reg(number, SD_FMT), 2));
    if (hda->stream[number].left == 0 && !fetch_descriptor(hda, number, 0)) {
        stop_with_error(hda, number);
        return;
    }
    stream_status(hda, number, SD_FIFORDY);
    mixer_wake(hda->mixer, &hda->source);
}

/* Streams that were held back start together. */
static void ssync_written(struct hda *hda, unsigned number, uint32_t before)
{
    mixer_wake(hda->mixer, &hda->source);
}

static void sdctl_written(struct hda *hda, unsigned number, uint32_t before)
{
    uint32_t now = stream_control(hda, number);
    if (now & SD_RESET) {
        reset_stream(hda, number);
        hda->reg[stream_reg(number, SD_CTL)] = SD_RESET;
    } else if ((now & SD_RUN) && !(before & SD_RUN)) {
        start_stream(hda, number);
    } else if (!(now & SD_RUN)) {
        hda->reg[stream_reg(number, SD_STS)] &= (uint8_t)~SD_FIFORDY;
    }
}

/* Another list: the next start takes its first descriptor. */
static void bdp_written(struct hda *hda, unsigned number, uint32_t before)
{
    if (!(stream_control(hda, number) & SD_RUN))
        hda->stream[number].left = 0;
}

/* Registers that can be written, and what they hold after a reset. All others read as they are. */
static const struct row {
    uint16_t reg;
    uint8_t size;
    uint32_t writable, ones_clear, initial;
    void (*written)(struct hda *hda, unsigned number, uint32_t before);
} controller_rows[] = {
    {GCAP, 2, 0, 0, OUTPUTS << 12 | INPUTS << 8 | 1 /* 64-bit addresses */, NULL},
    {VMIN, 1, 0, 0, 0, NULL},
    {VMAJ, 1, 0, 0, 1, NULL},
    {OUTPAY, 2, 0, 0, 0x3c, NULL},
    {INPAY, 2, 0, 0, 0x1d, NULL},
    {GCTL, 4, GCTL_CRST | GCTL_UNSOL, 0, 0, gctl_written},
    {WAKEEN, 2, 0x01, 0, 0, NULL},
    {STATESTS, 2, 0, 0x01, 0, NULL},
    {GSTS, 2, 0, 0x02, 0, NULL},
    {INTCTL, 4, INT_GLOBAL | INT_CONTROLLER | ((1u << STREAMS) - 1), 0, 0, NULL},
    {SSYNC_ICH, 4, (1u << STREAMS) - 1, 0, 0, ssync_written},
    {SSYNC, 4, (1u << STREAMS) - 1, 0, 0, ssync_written},
    {CORBLBASE, 4, ~0x7fu, 0, 0, NULL},
    {CORBUBASE, 4, ~0u, 0, 0, NULL},
    {CORBWP, 2, RING - 1, 0, 0, corb_written},
    {CORBRP, 2, POINTER_RESET, 0, 0, corb_written},
    {CORBCTL, 1, CORB_RUN | CORB_INTERRUPT, 0, 0, corb_written},
    {CORBSTS, 1, 0, CORB_INTERRUPT, 0, NULL},
    {CORBSIZE, 1, 0, 0, 0x42, NULL}, /* 256 entries, no other size */
    {RIRBLBASE, 4, ~0x7fu, 0, 0, NULL},
    {RIRBUBASE, 4, ~0u, 0, 0, NULL},
    {RIRBWP, 2, POINTER_RESET, 0, 0, rirbwp_written},
    {RINTCNT, 2, 0xff, 0, 0, NULL},
    {RIRBCTL, 1, 0x04 | RIRB_RUN | RIRB_INTERRUPT, 0, 0, NULL},
    {RIRBSTS, 1, 0, 0x04 | RIRB_INTERRUPT, 0, NULL},
    {RIRBSIZE, 1, 0, 0, 0x42, NULL},
    {ICW, 4, ~0u, 0, 0, NULL},
    {ICS, 2, ICS_BUSY, ICS_VALID, 0, ics_written},
    {DPLBASE, 4, ~0x7fu | DPL_ENABLE, 0, 0, NULL},
    {DPUBASE, 4, ~0u, 0, 0, NULL},
};
static const struct row stream_rows[] = {
    {SD_CTL, 3, 0xff0000 | SD_RESET | SD_RUN | SD_IOCE | SD_FEIE | SD_DEIE, 0, 0, sdctl_written},
    {SD_STS, 1, 0, SD_BCIS | SD_FIFOE | SD_DESE, 0, NULL},
    {SD_CBL, 4, ~0u, 0, 0, NULL},
    {SD_LVI, 2, 0xff, 0, 0, NULL},
    {SD_FMT, 2, 0x7f7f, 0, 0, NULL},
    {SD_BDPL, 4, ~0x7fu, 0, 0, bdp_written},
    {SD_BDPU, 4, ~0u, 0, 0, bdp_written},
};

/* -- Access -- */

static uint32_t wall_clock(const struct hda *hda)
{
    if (!(hda->reg[GCTL] & GCTL_CRST))
        return 0;
    return (uint32_t)clock_scale(clock_now(hda->clock) - hda->wall_ns, WALCLK_HZ, NS_PER_SECOND);
}

static uint64_t hda_read(void *opaque, uint64_t offset, unsigned size)
{
    struct hda *hda = opaque;
    if (offset >= ALIAS)
        offset -= ALIAS;
    if (offset + size > REGISTERS)
        return 0;
    mixer_sync(hda->mixer);
    put(hda, WALCLK, wall_clock(hda), 4);
    put(hda, INTSTS, interrupt_status(hda), 4);
    return get(hda, (unsigned)offset, size);
}

/* Bytes [first, first + size) get `value` where they lie in the row's register at `reg`. True if
 * that answered an interrupt. */
static bool write_row(struct hda *hda, const struct row *row, unsigned reg, unsigned number,
                      unsigned first, uint64_t value, unsigned size)
{
    uint32_t before = get(hda, reg, row->size), after = before;
    if (first >= reg + row->size || first + size <= reg)
        return false;
    for (unsigned i = 0; i < row->size; i++) {
        if (reg + i < first || reg + i >= first + size)
            continue;
        uint32_t byte = (uint32_t)(value >> (8 * (reg + i - first)) & 0xff) << (8 * i);
        uint32_t mask = row->writable & 0xffu << (8 * i);
        after = ((after & ~mask) | (byte & mask)) & ~(byte & row->ones_clear);
    }
    put(hda, reg, after, row->size);
    if (row->written)
        row->written(hda, number, before);
    return row->ones_clear && after != before;
}

static void hda_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct hda *hda = opaque;
    unsigned first = (unsigned)offset;
    bool answered = false;
    if (offset + size > REGISTERS)
        return;
    mixer_sync(hda->mixer);
    for (size_t i = 0; i < sizeof controller_rows / sizeof *controller_rows; i++)
        if ((hda->reg[GCTL] & GCTL_CRST) || controller_rows[i].reg == GCTL)
            answered |=
                write_row(hda, &controller_rows[i], controller_rows[i].reg, 0, first, value, size);
    if (first + size > STREAM0 && (hda->reg[GCTL] & GCTL_CRST)) {
        unsigned number = (first + size - 1 - STREAM0) / STREAM_STRIDE;
        for (size_t i = 0; i < sizeof stream_rows / sizeof *stream_rows; i++)
            answered |= write_row(hda, &stream_rows[i], stream_reg(number, stream_rows[i].reg),
                                  number, first, value, size);
    }
    update_irq(hda, answered);
}

static const struct access_ops hda_ops = {hda_read, hda_write, 1, 4};

/* -- Life -- */

/* All but what belongs to the wake-up logic. */
static void hda_link_reset(struct hda *hda)
{
    uint32_t wakeen = get(hda, WAKEEN, 2), statests = get(hda, STATESTS, 2);
    memset(hda->reg, 0, sizeof hda->reg);
    for (size_t i = 0; i < sizeof controller_rows / sizeof *controller_rows; i++)
        put(hda, controller_rows[i].reg, controller_rows[i].initial, controller_rows[i].size);
    put(hda, WAKEEN, wakeen, 2);
    put(hda, STATESTS, statests, 2);
    for (unsigned i = 0; i < STREAMS; i++)
        reset_stream(hda, i);
    hda->answers = 0;
    hda_codec_reset(&hda->codec);
}

static void hda_reset(struct device *device)
{
    struct hda *hda = (struct hda *)device;
    pci_device_reset(&hda->pci);
    memset(hda->reg, 0, sizeof hda->reg);
    hda_codec_power_on(&hda->codec);
    hda_link_reset(hda);
    hda->wall_ns = 0;
    hda->notified = 0;
}

static bool hda_post_load(struct device *device, struct error *error)
{
    struct hda *hda = (struct hda *)device;
    bool any = false;
    if (!pci_device_post_load(&hda->pci, error))
        return false;
    for (unsigned i = 0; i < STREAMS; i++) {
        bool runs = stream_control(hda, i) & SD_RUN;
        if (!voice_valid(&hda->stream[i].voice) || (runs && hda->stream[i].left == 0))
            return error_set(error, "The saved state of the HD Audio controller is damaged");
        any |= runs;
    }
    if (get(hda, CORBWP, 2) >= RING || hda->codec.power > 3)
        return error_set(error, "The saved state of the HD Audio link is damaged");
    if (any)
        mixer_wake(hda->mixer, &hda->source);
    hda->notified = interrupt_status(hda) & get(hda, INTCTL, 4);
    return true;
}

static void hda_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops hda_device_ops = {
    .name = "hda",
    .fields = hda_fields,
    .version = 1,
    .reset = hda_reset,
    .post_load = hda_post_load,
    .destroy = hda_destroy,
};

struct hda *hda_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                    enum hda_model model, struct clock *clock, struct mixer *mixer, const char *id)
{
    static const uint16_t device[] = {[HDA_ICH6] = 0x2668, [HDA_ICH9] = 0x293e};
    const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = device[model],
        .revision = 3,
        .class_code = 0x0403,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
        .interrupt_pin = 1,
    };
    struct hda *hda = alloc_zeroed(sizeof *hda);

    device_add(list, &hda->pci.device, &hda_device_ops, id);
    pci_device_init(&hda->pci, bus, devfn, &identity);
    hda->pci.write_mask[PCI_TCSEL] = 0x07;
    pci_add_mmio_bar_64(&hda->pci, 0, BAR_SIZE, &hda_ops, hda);
    pci_add_power_management(&hda->pci, PCI_POWER);
    pci_add_msi(&hda->pci, PCI_MSI, 1, PCI_MSI_64BIT);
    hda->clock = clock;
    hda->mixer = mixer;
    hda->source =
        (struct mixer_source){.render = render, .next_interrupt = next_interrupt, .device = hda};
    mixer_add(mixer, &hda->source);
    return hda;
}
