/*
 * Intel 8259A programmable interrupt controller, two of them in cascade, as the 82371SB (PIIX3)
 * integrates them.
 *
 * 8259A data sheet (231468), "Programming the 8259A" and "Interrupt Sequence"; 82371SB data sheet,
 * "Interrupt Controller Registers" for the ELCR.
 *
 * A request lives in three registers: IRR (asked), ISR (being served) and IMR (masked). In edge
 * mode an input sets its latch on a rising edge, and the latch falls with the input: an input that
 * goes away before the acknowledge leaves nothing but the default, IR7.
 *
 * Not modelled: MCS-80/85 mode (treated as 8086 mode), ICW1.LTIM (the ELCR replaces it, as on
 * PIIX3), buffered mode pins.
 */
#include "hw/irq/i8259.h"

#include "hw/alloc.h"

#define PORT_MASTER   0x20
#define PORT_SLAVE    0xa0
#define PORT_ELCR     0x4d0

#define CASCADE_INPUT 2

/* Address 0, write */
#define ICW1_IC4        0x01 /* ICW4 follows */
#define ICW1_SNGL       0x02 /* no cascade */
#define ICW1_INIT       0x10
#define OCW3_SELECT     0x08
#define OCW3_RIS        0x01 /* read ISR rather than IRR, if RR */
#define OCW3_RR         0x02
#define OCW3_POLL       0x04
#define OCW3_SMM        0x20
#define OCW3_ESMM       0x40
#define OCW2_LEVEL      0x07
#define OCW2_EOI        0x20
#define OCW2_SPECIFIC   0x40
#define OCW2_ROTATE     0x80

#define ICW2_BASE       0xf8
#define ICW3_SLAVE_ID   0x07
#define ICW4_UPM        0x01
#define ICW4_AEOI       0x02
#define ICW4_SFNM       0x10

#define POLL_PENDING    0x80
#define NO_SLAVE_VECTOR 0xff /* nobody drives the data bus */

/* IRQ 0, 1, 2, 8 and 13 are edge-triggered on every PC. */
static const uint8_t elcr_writable[2] = {0xf8, 0xde};

enum { MASTER, SLAVE };

struct i8259_chip {
    uint8_t lines;      /* level of the inputs */
    uint8_t edge_latch; /* rising edges seen and not acknowledged */
    uint8_t imr;
    uint8_t isr;
    uint8_t elcr; /* 1: level-triggered */
    uint8_t icw[4];
    uint8_t next_icw;        /* 2 to 4 while being initialised, else 0 */
    uint8_t lowest_priority; /* input of lowest priority; the next one is highest */
    bool initialised;
    bool read_isr;
    bool poll;
    bool special_mask;
    bool rotate_on_aeoi;
};

struct i8259 {
    struct device device;
    struct i8259_chip chip[2];
    struct irq_line intr;
    bool intr_level;
};

static const struct field chip_fields[] = {
    FIELD(struct i8259_chip, lines, 1),
    FIELD(struct i8259_chip, edge_latch, 1),
    FIELD(struct i8259_chip, imr, 1),
    FIELD(struct i8259_chip, isr, 1),
    FIELD(struct i8259_chip, elcr, 1),
    FIELD_ARRAY(struct i8259_chip, icw, 1),
    FIELD(struct i8259_chip, next_icw, 1),
    FIELD(struct i8259_chip, lowest_priority, 1),
    FIELD(struct i8259_chip, initialised, 1),
    FIELD(struct i8259_chip, read_isr, 1),
    FIELD(struct i8259_chip, poll, 1),
    FIELD(struct i8259_chip, special_mask, 1),
    FIELD(struct i8259_chip, rotate_on_aeoi, 1),
    FIELD_END,
};

static const struct field i8259_fields[] = {
    FIELD_STRUCTS(struct i8259, chip, chip_fields, 1),
    FIELD_END,
};

/* -- Priority -- */

static uint8_t chip_irr(const struct i8259_chip *chip)
{
    return (chip->lines & chip->elcr) | (chip->edge_latch & (uint8_t)~chip->elcr);
}

static bool has_slaves(const struct i8259_chip *chip)
{
    return !(chip->icw[0] & ICW1_SNGL);
}

/* Distance from the top of the priority order, 0 to 7, of the highest bit set; 8 if none is. */
static unsigned rank(const struct i8259_chip *chip, uint8_t bits)
{
    for (unsigned i = 0; i < 8; i++) {
        if (bits & (1u << ((chip->lowest_priority + 1 + i) & 7)))
            return i;
    }
    return 8;
}

static unsigned input_of_rank(const struct i8259_chip *chip, unsigned place)
{
    return (chip->lowest_priority + 1 + place) & 7;
}

/* The input that INT is asserted for, or -1. */
static int chip_request(const struct i8259 *pic, int which)
{
    const struct i8259_chip *chip = &pic->chip[which];

    if (!chip->initialised)
        return -1;

    /* In special mask mode a level in service only holds back others while it is unmasked. */
    uint8_t serving = chip->special_mask ? chip->isr & (uint8_t)~chip->imr : chip->isr;
    unsigned asking_rank = rank(chip, chip_irr(chip) & (uint8_t)~chip->imr);
    unsigned serving_rank = rank(chip, serving);
    if (asking_rank == 8)
        return -1;

    unsigned input = input_of_rank(chip, asking_rank);
    if (asking_rank < serving_rank)
        return (int)input;
    /* Special fully nested: a slave in service may ask again for something more urgent. */
    if (asking_rank == serving_rank && which == MASTER && (chip->icw[3] & ICW4_SFNM) &&
        (chip->icw[2] & (1u << input)))
        return (int)input;
    return -1;
}

/* -- Lines -- */

static void chip_set_input(struct i8259_chip *chip, int input, bool level)
{
    uint8_t bit = (uint8_t)(1u << input);

    if (level) {
        if (!(chip->lines & bit))
            chip->edge_latch |= bit;
        chip->lines |= bit;
    } else {
        chip->lines &= (uint8_t)~bit;
        chip->edge_latch &= (uint8_t)~bit;
    }
}

/* Brings the outputs up to date: slave's INT to the master, master's to the processor. */
static void update(struct i8259 *pic)
{
    chip_set_input(&pic->chip[MASTER], CASCADE_INPUT, chip_request(pic, SLAVE) >= 0);

    bool level = chip_request(pic, MASTER) >= 0;
    if (level != pic->intr_level) {
        pic->intr_level = level;
        irq_set(pic->intr, level);
    }
}

static void set_line(void *opaque, int number, bool level)
{
    struct i8259 *pic = opaque;

    chip_set_input(&pic->chip[number >> 3], number & 7, level);
    update(pic);
}

struct irq_line i8259_line(struct i8259 *pic, int n)
{
    if (n < 0 || n > 15 || n == CASCADE_INPUT)
        return (struct irq_line){0};
    return (struct irq_line){set_line, pic, n};
}

bool i8259_intr(const struct i8259 *pic)
{
    return pic->intr_level;
}

/* -- Acknowledge and end of interrupt -- */

static void end_of_interrupt(struct i8259_chip *chip, unsigned input, bool rotate)
{
    chip->isr &= (uint8_t) ~(1u << input);
    if (rotate)
        chip->lowest_priority = (uint8_t)input;
}

/* INTA seen by one chip: the input that is now in service. */
static void chip_acknowledge(struct i8259_chip *chip, int input)
{
    chip->edge_latch &= (uint8_t) ~(1u << input);
    chip->isr |= (uint8_t)(1u << input);
    if (chip->icw[3] & ICW4_AEOI)
        end_of_interrupt(chip, (unsigned)input, chip->rotate_on_aeoi);
}

static int chip_vector(const struct i8259_chip *chip, int input)
{
    return (chip->icw[1] & ICW2_BASE) | input;
}

static int acknowledge_slave(struct i8259 *pic, int cascade_input)
{
    struct i8259_chip *slave = &pic->chip[SLAVE];

    if (!slave->initialised || (slave->icw[2] & ICW3_SLAVE_ID) != cascade_input ||
        cascade_input != CASCADE_INPUT)
        return NO_SLAVE_VECTOR;

    int input = chip_request(pic, SLAVE);
    if (input < 0)
        return chip_vector(slave, 7);
    chip_acknowledge(slave, input);
    /* INT drops during the acknowledge, so that a further request is a new edge for the master. */
    chip_set_input(&pic->chip[MASTER], CASCADE_INPUT, false);
    return chip_vector(slave, input);
}

int i8259_acknowledge(struct i8259 *pic)
{
    struct i8259_chip *master = &pic->chip[MASTER];
    int input = chip_request(pic, MASTER);
    int vector;

    if (input < 0) {
        vector = chip_vector(master, 7);
    } else {
        bool cascaded = has_slaves(master) && (master->icw[2] & (1u << input));
        chip_acknowledge(master, input);
        vector = cascaded ? acknowledge_slave(pic, input) : chip_vector(master, input);
    }
    update(pic);
    return vector;
}

/* -- Registers -- */

static void write_icw1(struct i8259_chip *chip, uint8_t value)
{
    chip->icw[0] = value;
    chip->icw[2] = 0;
    chip->icw[3] = 0; /* without IC4 all its functions are off */
    chip->next_icw = 2;
    chip->initialised = false;
    chip->edge_latch = 0;
    chip->imr = 0;
    chip->isr = 0;
    chip->lowest_priority = 7;
    chip->read_isr = false;
    chip->poll = false;
    chip->special_mask = false;
    chip->rotate_on_aeoi = false;
}

static void write_icw(struct i8259 *pic, int which, uint8_t value)
{
    struct i8259_chip *chip = &pic->chip[which];
    uint8_t number = chip->next_icw;

    chip->icw[number - 1] = value;
    if (number == 2 && has_slaves(chip))
        chip->next_icw = 3;
    else if (number <= 3 && (chip->icw[0] & ICW1_IC4))
        chip->next_icw = 4;
    else
        chip->next_icw = 0;

    if (number == 3 && value != (which == MASTER ? 1u << CASCADE_INPUT : CASCADE_INPUT))
        log_guest("i8259: %s set up for a cascade that is not wired (ICW3 %#x)",
                  which == MASTER ? "master" : "slave", value);
    if (chip->next_icw == 0) {
        chip->initialised = true;
        if (!(chip->icw[3] & ICW4_UPM))
            log_guest("i8259: MCS-80 mode asked for, 8086 mode used");
    }
}

static void write_ocw2(struct i8259_chip *chip, uint8_t value)
{
    unsigned level = value & OCW2_LEVEL;
    bool rotate = value & OCW2_ROTATE;

    switch (value & (OCW2_EOI | OCW2_SPECIFIC)) {
    case OCW2_EOI: {
        /* In special mask mode the masked levels are served by specific EOI only. */
        uint8_t serving = chip->special_mask ? chip->isr & (uint8_t)~chip->imr : chip->isr;
        unsigned place = rank(chip, serving);
        if (place < 8)
            end_of_interrupt(chip, input_of_rank(chip, place), rotate);
        break;
    }
    case OCW2_EOI | OCW2_SPECIFIC:
        end_of_interrupt(chip, level, rotate);
        break;
    case OCW2_SPECIFIC:
        if (rotate) /* set priority; without it, no operation */
            chip->lowest_priority = (uint8_t)level;
        break;
    default:
        chip->rotate_on_aeoi = rotate;
    }
}

static void write_ocw3(struct i8259_chip *chip, uint8_t value)
{
    if (value & OCW3_ESMM)
        chip->special_mask = value & OCW3_SMM;
    if (value & OCW3_RR)
        chip->read_isr = value & OCW3_RIS;
    chip->poll = value & OCW3_POLL;
}

static void chip_write(struct i8259 *pic, int which, uint64_t offset, uint8_t value)
{
    struct i8259_chip *chip = &pic->chip[which];

    if (offset == 0) {
        if (value & ICW1_INIT)
            write_icw1(chip, value);
        else if (value & OCW3_SELECT)
            write_ocw3(chip, value);
        else
            write_ocw2(chip, value);
    } else if (chip->next_icw) {
        write_icw(pic, which, value);
    } else {
        chip->imr = value; /* OCW1 */
    }
    update(pic);
}

/* The read after a poll command is an acknowledge that answers with the level. */
static uint8_t chip_poll(struct i8259 *pic, int which)
{
    int input = chip_request(pic, which);

    pic->chip[which].poll = false;
    if (input < 0)
        return 7;
    chip_acknowledge(&pic->chip[which], input);
    if (which == SLAVE)
        chip_set_input(&pic->chip[MASTER], CASCADE_INPUT, false);
    update(pic);
    return (uint8_t)(POLL_PENDING | input);
}

static uint8_t chip_read(struct i8259 *pic, int which, uint64_t offset)
{
    struct i8259_chip *chip = &pic->chip[which];

    if (chip->poll)
        return chip_poll(pic, which);
    if (offset == 1)
        return chip->imr;
    return chip->read_isr ? chip->isr : chip_irr(chip);
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size)
{
    return chip_read(opaque, MASTER, offset);
}

static void master_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    chip_write(opaque, MASTER, offset, (uint8_t)value);
}

static uint64_t slave_read(void *opaque, uint64_t offset, unsigned size)
{
    return chip_read(opaque, SLAVE, offset);
}

static void slave_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    chip_write(opaque, SLAVE, offset, (uint8_t)value);
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8259 *pic = opaque;

    return pic->chip[offset].elcr;
}

static void elcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8259 *pic = opaque;

    pic->chip[offset].elcr = (uint8_t)value & elcr_writable[offset];
    update(pic);
}

static const struct access_ops master_ops = {master_read, master_write, 1, 1};
static const struct access_ops slave_ops = {slave_read, slave_write, 1, 1};
static const struct access_ops elcr_ops = {elcr_read, elcr_write, 1, 1};

/* -- Device -- */

static void i8259_reset(struct device *device)
{
    struct i8259 *pic = (struct i8259 *)device;

    for (int which = MASTER; which <= SLAVE; which++) {
        /* The inputs belong to the devices that drive them. */
        pic->chip[which] = (struct i8259_chip){
            .lines = pic->chip[which].lines,
            .lowest_priority = 7,
        };
    }
    update(pic);
}

static bool i8259_post_load(struct device *device, struct error *error)
{
    struct i8259 *pic = (struct i8259 *)device;

    for (int which = MASTER; which <= SLAVE; which++) {
        struct i8259_chip *chip = &pic->chip[which];
        if (chip->next_icw == 1 || chip->next_icw > 4 || chip->lowest_priority > 7 ||
            (chip->initialised && chip->next_icw) || (chip->edge_latch & ~chip->lines))
            return error_set(error, "%s: the saved interrupt controller state is impossible",
                             device->id);
    }
    pic->intr_level = chip_request(pic, MASTER) >= 0;
    irq_set(pic->intr, pic->intr_level);
    return true;
}

static void i8259_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops i8259_device_ops = {
    .name = "i8259",
    .fields = i8259_fields,
    .version = 1,
    .reset = i8259_reset,
    .post_load = i8259_post_load,
    .destroy = i8259_destroy,
};

struct i8259 *i8259_new(struct device_list *list, struct io_bus *io, struct irq_line intr,
                        const char *id)
{
    struct i8259 *pic = alloc_zeroed(sizeof *pic);

    pic->intr = intr;
    device_add(list, &pic->device, &i8259_device_ops, id);
    io_bus_add(io, PORT_MASTER, 2, &master_ops, pic);
    io_bus_add(io, PORT_SLAVE, 2, &slave_ops, pic);
    io_bus_add(io, PORT_ELCR, 2, &elcr_ops, pic);
    i8259_reset(&pic->device);
    return pic;
}
