/*
 * Sound Blaster 16: the digital sound processor (DSP 4.05) and the mixer chip (CT1745).
 * Specification: Sound Blaster Series Hardware Programming Guide, 2 (ports), 3 (DMA), 4 (mixer),
 * 6 (DSP commands).
 *
 * The card plays or records on two DMA channels of the 8237s at the same time, one for 8-bit and
 * one for 16-bit samples. A block of samples ends with an interrupt; with automatic initialization
 * the next begins at once. Recordings are silent. The mixer chip also says which interrupt and
 * which channels the card uses.
 *
 *     220h  FM synthesizer   224h  mixer: index, data   226h  DSP reset   22ah  DSP data
 *     22ch  DSP commands, busy   22eh  data available, ends 8-bit interrupts   22fh  16-bit ones
 *
 * Not modelled: the OPL3 FM synthesizer (388h, 220h-223h, 228h), MPU-401 (330h) and MIDI commands,
 * joystick, compressed samples (ADPCM), the advanced signal processor, treble and bass, the CD's
 * and other inputs.
 */
#include "hw/audio/sb16.h"
#include "hw/audio/voice.h"
#include "hw/alloc.h"

#include <math.h>
#include <string.h>

#define BASE    0x220
#define FM_BASE 0x388

enum port {
    PORT_MIXER_INDEX = 0x4,
    PORT_MIXER_DATA = 0x5,
    PORT_RESET = 0x6,
    PORT_READ = 0xa,
    PORT_WRITE = 0xc,
    PORT_STATUS = 0xe,
    PORT_ACKNOWLEDGE_16 = 0xf,
};
#define STATUS_DATA                                                                                \
    0x80 /* there is something to read; in PORT_WRITE: busy, which never happens                   \
          */
#define NO_DATA     0xff

#define RATE_MIN    4000u
#define RATE_MAX    48000u
#define RATE_RESET  11025u
#define ANSWERS     64
#define HELD_FRAMES (MIXER_RATE / 10) /* how long a level set by a program is a sound */

/* -- State -- */

enum mixer_register {
    M_RESET = 0x00,
    M_VOICE_OLD = 0x04,
    M_MASTER_OLD = 0x22,
    M_MIDI_OLD = 0x26,
    M_CD_OLD = 0x28,
    M_LINE_OLD = 0x2e,
    M_MASTER = 0x30, /* left; the right side follows */
    M_VOICE = 0x32,
    M_MIDI = 0x34,
    M_CD = 0x36,
    M_LINE = 0x38,
    M_MICROPHONE = 0x3a,
    M_SPEAKER = 0x3b,
    M_OUTPUT_SWITCHES = 0x3c,
    M_INPUT_LEFT = 0x3d,
    M_INPUT_RIGHT = 0x3e,
    M_OUTPUT_GAIN = 0x41,
    M_AGC = 0x43,
    M_BASS_RIGHT = 0x47,
    M_IRQ = 0x80,
    M_DMA = 0x81,
    M_IRQ_STATUS = 0x82,
};
#define MIXER_REGISTERS 0x48

/* A block on one of the DMA channels. */
enum { WIDTH_8, WIDTH_16, WIDTHS };
struct transfer {
    bool active, paused, automatic, input, stereo, is_signed;
    bool silence;         /* counts samples without moving any */
    uint32_t block, left; /* samples */
    struct voice voice;
};

struct sb16 {
    struct device device;
    uint8_t command, wanted, given; /* parameter bytes of the command that is being given */
    uint8_t parameter[4];
    uint8_t answer[ANSWERS], answers;
    uint8_t last_answer, test;
    bool in_reset, speaker;
    uint8_t irq_status; /* bit WIDTH_8, bit WIDTH_16 */
    uint32_t rate[2];   /* of outputs, of inputs */
    uint32_t block;     /* set beforehand, for the commands without a length */
    struct transfer transfer[WIDTHS];
    int16_t held; /* the level that a program sets sample by sample */
    uint32_t held_frames;
    uint8_t mixer_index, mixer_reg[MIXER_REGISTERS], irq_select, dma_select;
    struct i8237 *dma;
    struct irq_line irq[SB16_IRQS];
    struct mixer *mixer;
    struct mixer_source source;
};

static const struct field transfer_fields[] = {
    FIELD(struct transfer, active, 1),
    FIELD(struct transfer, paused, 1),
    FIELD(struct transfer, automatic, 1),
    FIELD(struct transfer, input, 1),
    FIELD(struct transfer, stereo, 1),
    FIELD(struct transfer, is_signed, 1),
    FIELD(struct transfer, silence, 1),
    FIELD(struct transfer, block, 1),
    FIELD(struct transfer, left, 1),
    FIELD_STRUCT(struct transfer, voice, voice_fields, 1),
    FIELD_END,
};

static const struct field sb16_fields[] = {
    FIELD(struct sb16, command, 1),
    FIELD(struct sb16, wanted, 1),
    FIELD(struct sb16, given, 1),
    FIELD_ARRAY(struct sb16, parameter, 1),
    FIELD_ARRAY(struct sb16, answer, 1),
    FIELD(struct sb16, answers, 1),
    FIELD(struct sb16, last_answer, 1),
    FIELD(struct sb16, test, 1),
    FIELD(struct sb16, in_reset, 1),
    FIELD(struct sb16, speaker, 1),
    FIELD(struct sb16, irq_status, 1),
    FIELD_ARRAY(struct sb16, rate, 1),
    FIELD(struct sb16, block, 1),
    FIELD_STRUCTS(struct sb16, transfer, transfer_fields, 1),
    FIELD(struct sb16, held, 1),
    FIELD(struct sb16, held_frames, 1),
    FIELD(struct sb16, mixer_index, 1),
    FIELD_ARRAY(struct sb16, mixer_reg, 1),
    FIELD(struct sb16, irq_select, 1),
    FIELD(struct sb16, dma_select, 1),
    FIELD_END,
};

/* -- Interrupts and DMA channels -- */

static void update_irq(struct sb16 *sb16)
{
    for (int i = 0; i < SB16_IRQS; i++)
        irq_set(sb16->irq[i], sb16->irq_status && (sb16->irq_select >> i & 1));
}

static void interrupt(struct sb16 *sb16, unsigned width)
{
    sb16->irq_status |= (uint8_t)(1u << width);
    update_irq(sb16);
}

static void acknowledge(struct sb16 *sb16, unsigned width)
{
    sb16->irq_status &= (uint8_t) ~(1u << width);
    update_irq(sb16);
}

/* The channel, or -1 if none is selected. Without one for words they pass as bytes. */
static int dma_channel(const struct sb16 *sb16, unsigned width)
{
    if (width == WIDTH_16 && sb16->dma_select & 0xe0)
        return __builtin_ctz(sb16->dma_select & 0xe0u);
    return sb16->dma_select & 0x0b ? __builtin_ctz(sb16->dma_select & 0x0bu) : -1;
}

/* -- Transfers -- */

static bool running(const struct transfer *transfer)
{
    return transfer->active && !transfer->paused;
}

static void end_block(struct sb16 *sb16, unsigned width)
{
    struct transfer *transfer = &sb16->transfer[width];
    transfer->left = transfer->block;
    transfer->active = transfer->automatic;
    interrupt(sb16, width);
}

static int16_t sample(const uint8_t *data, unsigned width, bool is_signed)
{
    uint16_t value =
        width == WIDTH_16 ? (uint16_t)(data[0] | data[1] << 8) : (uint16_t)(data[0] << 8);
    return (int16_t)(is_signed ? value : value ^ 0x8000);
}

/* One width at work, for voice_step. */
struct work {
    struct sb16 *sb16;
    unsigned width;
};

/* A frame from memory, or into it. While the 8237 is not ready the last one stands. */
static bool next_frame(void *opaque, int16_t frame[2])
{
    struct work *work = opaque;
    struct sb16 *sb16 = work->sb16;
    struct transfer *transfer = &sb16->transfer[work->width];
    unsigned samples = transfer->stereo ? 2 : 1, unit = work->width == WIDTH_16 ? 2 : 1;
    int channel = dma_channel(sb16, work->width);
    uint8_t data[4] = {0};
    size_t moved = samples * unit;
    bool end;
    if (!running(transfer))
        return false;
    if (transfer->silence) {
        frame[0] = frame[1] = 0;
    } else if (transfer->input) {
        for (unsigned i = 0; i < samples && !transfer->is_signed; i++)
            data[i * unit + unit - 1] = 0x80;
        moved = channel < 0 ? 0 : i8237_write_memory(sb16->dma, channel, data, moved, &end);
    } else {
        moved = channel < 0 ? 0 : i8237_read_memory(sb16->dma, channel, data, moved, &end);
        if (moved) {
            frame[0] = sample(data, work->width, transfer->is_signed);
            frame[1] =
                moved > unit ? sample(data + unit, work->width, transfer->is_signed) : frame[0];
        }
    }
    if (moved / unit >= transfer->left)
        end_block(sb16, work->width);
    else
        transfer->left -= (uint32_t)(moved / unit);
    return true;
}

/* The volume of the mixer chip: 2 dB a step, and up to 18 dB more behind it. */
static int64_t gain(const struct sb16 *sb16, int side)
{
    int master = sb16->mixer_reg[M_MASTER + side] >> 3,
        voice = sb16->mixer_reg[M_VOICE + side] >> 3;
    int decibels =
        2 * (master - 31) + 2 * (voice - 31) + 6 * (sb16->mixer_reg[M_OUTPUT_GAIN + side] >> 6);
    return master && voice ? (int64_t)(65536 * pow(10, decibels / 20.0)) : 0;
}

static void run_transfer(struct sb16 *sb16, unsigned width, int32_t *mix, size_t count)
{
    struct transfer *transfer = &sb16->transfer[width];
    struct work work = {sb16, width};
    unsigned rate = sb16->rate[transfer->input];
    int64_t left = gain(sb16, 0), right = gain(sb16, 1);
    int32_t out[2];
    for (size_t i = 0; i < count && running(transfer); i++) {
        voice_step(&transfer->voice, rate, next_frame, &work, out);
        if (!transfer->input) {
            mix[2 * i] += (int32_t)(out[0] * left >> 16);
            mix[2 * i + 1] += (int32_t)(out[1] * right >> 16);
        }
    }
}

static void hold_level(struct sb16 *sb16, int32_t *mix, size_t count)
{
    int64_t left = gain(sb16, 0), right = gain(sb16, 1);
    for (size_t i = 0; i < count && sb16->held_frames; i++, sb16->held_frames--) {
        mix[2 * i] += (int32_t)(sb16->held * left >> 16);
        mix[2 * i + 1] += (int32_t)(sb16->held * right >> 16);
    }
}

static bool render(void *device, int32_t *mix, size_t count)
{
    struct sb16 *sb16 = device;
    hold_level(sb16, mix, count);
    bool any = sb16->held_frames;
    for (unsigned width = 0; width < WIDTHS; width++) {
        run_transfer(sb16, width, mix, count);
        any |= running(&sb16->transfer[width]);
    }
    return any;
}

static size_t next_interrupt(void *device, bool *unanswered)
{
    struct sb16 *sb16 = device;
    size_t next = MIXER_RATE;
    for (unsigned width = 0; width < WIDTHS; width++) {
        const struct transfer *transfer = &sb16->transfer[width];
        if (!running(transfer))
            continue;
        uint32_t frames = transfer->stereo ? (transfer->left + 1) / 2 : transfer->left;
        size_t steps = voice_steps(&transfer->voice, sb16->rate[transfer->input], frames);
        if (steps < next)
            next = steps;
        *unanswered |= sb16->irq_status >> width & 1;
    }
    return next;
}

/* -- DSP commands (6) -- */

static void put_answer(struct sb16 *sb16, uint8_t value)
{
    if (sb16->answers < ANSWERS)
        sb16->answer[sb16->answers++] = value;
}

static uint8_t take_answer(struct sb16 *sb16)
{
    if (sb16->answers) {
        sb16->last_answer = sb16->answer[0];
        memmove(sb16->answer, sb16->answer + 1, --sb16->answers);
    }
    return sb16->last_answer;
}

static void set_rate(struct sb16 *sb16, unsigned input, uint32_t rate)
{
    sb16->rate[input] = rate < RATE_MIN ? RATE_MIN : rate > RATE_MAX ? RATE_MAX : rate;
}

/* `samples` from 1 on. */
static void start(struct sb16 *sb16, unsigned width, struct transfer transfer, uint32_t samples)
{
    transfer.active = true;
    transfer.block = transfer.left = samples;
    sb16->transfer[width] = transfer;
    mixer_wake(sb16->mixer, &sb16->source);
}

static uint32_t length_parameter(const struct sb16 *sb16, unsigned at)
{
    return (uint32_t)(sb16->parameter[at] | sb16->parameter[at + 1] << 8) + 1;
}

static void direct_output(struct sb16 *sb16)
{
    sb16->held = (int16_t)((sb16->parameter[0] ^ 0x80) << 8);
    sb16->held_frames = HELD_FRAMES;
    mixer_wake(sb16->mixer, &sb16->source);
}

static void direct_input(struct sb16 *sb16)
{
    put_answer(sb16, 0x80);
}

static void single_8(struct sb16 *sb16)
{
    bool input = sb16->command == 0x24 || sb16->command == 0x99;
    start(sb16, WIDTH_8, (struct transfer){.input = input},
          sb16->wanted ? length_parameter(sb16, 0) : sb16->block);
}

static void automatic_8(struct sb16 *sb16)
{
    bool input = sb16->command == 0x2c || sb16->command == 0x98;
    start(sb16, WIDTH_8, (struct transfer){.input = input, .automatic = true}, sb16->block);
}

/* Bx (16 bits) and Cx (8 bits): input (3), automatic (2); then stereo (5), signed (4), length. */
static void any_dma(struct sb16 *sb16)
{
    uint8_t command = sb16->command, mode = sb16->parameter[0];
    start(sb16, command < 0xc0 ? WIDTH_16 : WIDTH_8,
          (struct transfer){
              .input = command & 0x08,
              .automatic = command & 0x04,
              .stereo = mode & 0x20,
              .is_signed = mode & 0x10,
          },
          length_parameter(sb16, 1));
}

static void pause_for(struct sb16 *sb16)
{
    start(sb16, WIDTH_8, (struct transfer){.silence = true}, length_parameter(sb16, 0));
}

static void time_constant(struct sb16 *sb16)
{
    uint32_t rate = 1000000u / (256u - sb16->parameter[0]);
    set_rate(sb16, 0, rate);
    set_rate(sb16, 1, rate);
}

static void sample_rate(struct sb16 *sb16)
{
    set_rate(sb16, sb16->command & 2 ? 1 : 0,
             (uint32_t)(sb16->parameter[0] << 8 | sb16->parameter[1]));
}

static void block_size(struct sb16 *sb16)
{
    sb16->block = length_parameter(sb16, 0);
}

/* D0, D4, D5, D6; 45 and 47 make what goes on automatic again. */
static void pause_or_go_on(struct sb16 *sb16)
{
    static const struct {
        uint8_t command, width;
        bool pause, automatic;
    } row[] = {
        {0xd0, WIDTH_8, true, false},  {0xd4, WIDTH_8, false, false},
        {0xd5, WIDTH_16, true, false}, {0xd6, WIDTH_16, false, false},
        {0x45, WIDTH_8, false, true},  {0x47, WIDTH_16, false, true},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct transfer *transfer = &sb16->transfer[row[i].width];
        if (row[i].command != sb16->command)
            continue;
        transfer->paused = row[i].pause;
        transfer->automatic |= row[i].automatic;
    }
    mixer_wake(sb16->mixer, &sb16->source);
}

static void leave_automatic(struct sb16 *sb16)
{
    sb16->transfer[sb16->command == 0xd9 ? WIDTH_16 : WIDTH_8].automatic = false;
}

static void speaker_switch(struct sb16 *sb16) /* what programs ask for; all is heard anyway */
{
    sb16->speaker = sb16->command == 0xd1;
}

static void speaker_status(struct sb16 *sb16)
{
    put_answer(sb16, sb16->speaker ? 0xff : 0);
}

static void identify(struct sb16 *sb16)
{
    put_answer(sb16, (uint8_t)~sb16->parameter[0]);
}

static void version(struct sb16 *sb16)
{
    put_answer(sb16, 4);
    put_answer(sb16, 5);
}

static void copyright(struct sb16 *sb16)
{
    static const char text[] = "COPYRIGHT (C) CREATIVE TECHNOLOGY LTD, 1992.";
    for (size_t i = 0; i < sizeof text; i++) /* with the zero */
        put_answer(sb16, (uint8_t)text[i]);
}

static void test_register(struct sb16 *sb16)
{
    if (sb16->command == 0xe4)
        sb16->test = sb16->parameter[0];
    else
        put_answer(sb16, sb16->test);
}

static void interrupt_request(struct sb16 *sb16)
{
    interrupt(sb16, sb16->command == 0xf3 ? WIDTH_16 : WIDTH_8);
}

static const struct command {
    uint8_t first, last, parameters;
    void (*run)(struct sb16 *sb16); /* NULL: takes its parameters, and is logged */
} commands[] = {
    {0x0e, 0x0e, 2, NULL}, /* signal processor */
    {0x0f, 0x0f, 1, NULL},           {0x10, 0x10, 1, direct_output},
    {0x14, 0x15, 2, single_8},       {0x16, 0x17, 2, NULL}, /* ADPCM */
    {0x1c, 0x1c, 0, automatic_8},    {0x20, 0x20, 0, direct_input},
    {0x24, 0x24, 2, single_8},       {0x2c, 0x2c, 0, automatic_8},
    {0x38, 0x38, 1, NULL}, /* MIDI */
    {0x40, 0x40, 1, time_constant},  {0x41, 0x42, 2, sample_rate},
    {0x45, 0x45, 0, pause_or_go_on}, {0x47, 0x47, 0, pause_or_go_on},
    {0x48, 0x48, 2, block_size},     {0x74, 0x77, 2, NULL}, /* ADPCM */
    {0x80, 0x80, 2, pause_for},      {0x90, 0x90, 0, automatic_8},
    {0x91, 0x91, 0, single_8},       {0x98, 0x98, 0, automatic_8},
    {0x99, 0x99, 0, single_8},       {0xb0, 0xcf, 3, any_dma},
    {0xd0, 0xd0, 0, pause_or_go_on}, {0xd1, 0xd1, 0, speaker_switch},
    {0xd3, 0xd3, 0, speaker_switch}, {0xd4, 0xd6, 0, pause_or_go_on},
    {0xd8, 0xd8, 0, speaker_status}, {0xd9, 0xda, 0, leave_automatic},
    {0xe0, 0xe0, 1, identify},       {0xe1, 0xe1, 0, version},
    {0xe2, 0xe2, 1, NULL}, /* DMA identification */
    {0xe3, 0xe3, 0, copyright},      {0xe4, 0xe4, 1, test_register},
    {0xe8, 0xe8, 0, test_register},  {0xf2, 0xf3, 0, interrupt_request},
};

static const struct command *find_command(uint8_t byte)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (byte >= commands[i].first && byte <= commands[i].last)
            return &commands[i];
    return NULL;
}

static void write_dsp(struct sb16 *sb16, uint8_t byte)
{
    const struct command *command;
    if (sb16->in_reset)
        return;
    if (sb16->given < sb16->wanted) {
        sb16->parameter[sb16->given++] = byte;
        command = find_command(sb16->command);
    } else {
        command = find_command(byte);
        sb16->command = byte;
        sb16->given = 0;
        sb16->wanted = command ? command->parameters : 0;
    }
    if (sb16->given < sb16->wanted)
        return;
    if (command && command->run)
        command->run(sb16);
    else
        log_guest("sb16: DSP command %#x is not modelled", sb16->command);
    sb16->given = sb16->wanted = 0;
}

/* What the reset line of the DSP does; its end is answered with AAh. */
static void reset_dsp(struct sb16 *sb16)
{
    memset(sb16->transfer, 0, sizeof sb16->transfer);
    sb16->command = sb16->wanted = sb16->given = sb16->answers = sb16->last_answer = 0;
    sb16->speaker = false;
    sb16->held_frames = 0;
    sb16->rate[0] = sb16->rate[1] = RATE_RESET;
    sb16->block = 0x800;
    sb16->irq_status = 0;
    update_irq(sb16);
}

static void write_reset(struct sb16 *sb16, uint8_t value)
{
    if (value & 1) {
        reset_dsp(sb16);
    } else if (sb16->in_reset) {
        put_answer(sb16, 0xaa);
    }
    sb16->in_reset = value & 1;
}

/* -- Mixer (4) -- */

/* Bits of each register from 30h on: levels of five bits (two for the PC speaker and the gains). */
static const uint8_t level_bits[MIXER_REGISTERS - M_MASTER] = {
    0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xc0,
    0x1f, 0x7f, 0x7f, 0xc0, 0xc0, 0xc0, 0xc0, 0x01, 0xf0, 0xf0, 0xf0, 0xf0,
};

/* Where the Sound Blaster Pro had a register for both sides, four bits each. */
static int old_register(unsigned index)
{
    static const struct {
        uint8_t old, now;
    } row[] = {
        {M_VOICE_OLD, M_VOICE}, {M_MASTER_OLD, M_MASTER}, {M_MIDI_OLD, M_MIDI},
        {M_CD_OLD, M_CD},       {M_LINE_OLD, M_LINE},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (row[i].old == index)
            return row[i].now;
    return -1;
}

static void reset_mixer(struct sb16 *sb16)
{
    memset(sb16->mixer_reg, 0, sizeof sb16->mixer_reg);
    memset(sb16->mixer_reg + M_MASTER, 24 << 3, M_CD - M_MASTER);
    memset(sb16->mixer_reg + M_AGC + 1, 8 << 4, M_BASS_RIGHT - M_AGC);
    sb16->mixer_reg[M_OUTPUT_SWITCHES] = 0x1f;
    sb16->mixer_reg[M_INPUT_LEFT] = 0x15;
    sb16->mixer_reg[M_INPUT_RIGHT] = 0x0b;
}

static uint8_t read_mixer(const struct sb16 *sb16)
{
    unsigned index = sb16->mixer_index;
    int now = old_register(index);
    if (now >= 0)
        return (sb16->mixer_reg[now] & 0xf0) | sb16->mixer_reg[now + 1] >> 4;
    if (index < MIXER_REGISTERS)
        return sb16->mixer_reg[index];
    return index == M_IRQ          ? sb16->irq_select | 0xf0
           : index == M_DMA        ? sb16->dma_select
           : index == M_IRQ_STATUS ? sb16->irq_status
                                   : NO_DATA;
}

static void write_mixer(struct sb16 *sb16, uint8_t value)
{
    unsigned index = sb16->mixer_index;
    int now = old_register(index);
    if (index == M_RESET) {
        reset_mixer(sb16);
    } else if (now >= 0) { /* the bit that is missing is a one: full is full */
        sb16->mixer_reg[now] = (value & 0xf0) | 0x08;
        sb16->mixer_reg[now + 1] = (uint8_t)(value << 4) | 0x08;
    } else if (index >= M_MASTER && index < MIXER_REGISTERS) {
        sb16->mixer_reg[index] = value & level_bits[index - M_MASTER];
    } else if (index == M_IRQ) {
        sb16->irq_select = value & 0x0f;
        update_irq(sb16);
    } else if (index == M_DMA) {
        sb16->dma_select = value & 0xeb;
    } else {
        log_guest("sb16: mixer register %#x is not modelled", index);
    }
}

/* -- Ports -- */

static void fm_missing(void)
{
    log_guest("sb16: the FM synthesizer is not modelled");
}

static uint64_t sb16_read(void *opaque, uint64_t offset, unsigned size)
{
    struct sb16 *sb16 = opaque;
    mixer_sync(sb16->mixer);
    switch (offset) {
    case PORT_MIXER_INDEX:
        return sb16->mixer_index;
    case PORT_MIXER_DATA:
        return read_mixer(sb16);
    case PORT_READ:
        return take_answer(sb16);
    case PORT_WRITE:
        return (uint8_t)~STATUS_DATA;
    case PORT_STATUS:
        acknowledge(sb16, WIDTH_8);
        return sb16->answers ? 0xff : (uint8_t)~STATUS_DATA;
    case PORT_ACKNOWLEDGE_16:
        acknowledge(sb16, WIDTH_16);
        return NO_DATA;
    case 0 ... 3:
    case 8 ... 9:
        fm_missing();
    }
    return NO_DATA;
}

static void sb16_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct sb16 *sb16 = opaque;
    mixer_sync(sb16->mixer);
    switch (offset) {
    case PORT_MIXER_INDEX:
        sb16->mixer_index = (uint8_t)value;
        break;
    case PORT_MIXER_DATA:
        write_mixer(sb16, (uint8_t)value);
        break;
    case PORT_RESET:
        write_reset(sb16, (uint8_t)value);
        break;
    case PORT_WRITE:
        write_dsp(sb16, (uint8_t)value);
        break;
    case 0 ... 3:
    case 8 ... 9:
        fm_missing();
        break;
    }
}

static const struct access_ops sb16_ops = {sb16_read, sb16_write, 1, 1};

/* Programs look here for a synthesizer: nothing answers, and the log says so. */
static uint64_t fm_read(void *opaque, uint64_t offset, unsigned size)
{
    fm_missing();
    return NO_DATA;
}

static void fm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    fm_missing();
}

static const struct access_ops fm_ops = {fm_read, fm_write, 1, 1};

/* The guest looks at the 8237s, or changes them: what is due by now is moved first. */
static void dma_accessed(void *opaque)
{
    mixer_sync(((struct sb16 *)opaque)->mixer);
}

/* -- Life -- */

static void sb16_reset(struct device *device)
{
    struct sb16 *sb16 = (struct sb16 *)device;
    reset_dsp(sb16);
    reset_mixer(sb16);
    sb16->in_reset = false;
    sb16->test = sb16->mixer_index = 0;
    sb16->irq_select = 1 << SB16_IRQ5;
    sb16->dma_select = 1 << 1 | 1 << 5;
}

static bool sb16_post_load(struct device *device, struct error *error)
{
    struct sb16 *sb16 = (struct sb16 *)device;
    bool sound = sb16->wanted <= sizeof sb16->parameter && sb16->given <= sb16->wanted &&
                 sb16->answers <= ANSWERS && sb16->block > 0 && sb16->block <= 0x10000;
    for (int i = 0; i < 2; i++)
        sound &= sb16->rate[i] >= RATE_MIN && sb16->rate[i] <= RATE_MAX;
    for (int i = 0; i < WIDTHS; i++) {
        const struct transfer *transfer = &sb16->transfer[i];
        sound &= voice_valid(&transfer->voice) && transfer->left <= transfer->block &&
                 (!transfer->active || transfer->left > 0);
    }
    if (!sound)
        return error_set(error, "The saved state of the Sound Blaster is damaged");
    update_irq(sb16);
    mixer_wake(sb16->mixer, &sb16->source);
    return true;
}

static void sb16_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops sb16_device_ops = {
    .name = "sb16",
    .fields = sb16_fields,
    .version = 1,
    .reset = sb16_reset,
    .post_load = sb16_post_load,
    .destroy = sb16_destroy,
};

struct sb16 *sb16_new(struct device_list *list, struct io_bus *io, struct i8237 *dma,
                      const struct irq_line irq[SB16_IRQS], struct mixer *mixer, const char *id)
{
    struct sb16 *sb16 = alloc_zeroed(sizeof *sb16);
    device_add(list, &sb16->device, &sb16_device_ops, id);
    io_bus_add(io, BASE, 16, &sb16_ops, sb16);
    io_bus_add(io, FM_BASE, 4, &fm_ops, sb16);
    i8237_on_access(dma, dma_accessed, sb16);
    sb16->dma = dma;
    memcpy(sb16->irq, irq, sizeof sb16->irq);
    sb16->mixer = mixer;
    sb16->source =
        (struct mixer_source){.render = render, .next_interrupt = next_interrupt, .device = sb16};
    mixer_add(mixer, &sb16->source);
    return sb16;
}
