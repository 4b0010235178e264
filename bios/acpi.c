/*
 * ACPI tables (ACPI 6.4, chapter 5) for both boards, handed to the firmware as fw_cfg files.
 *
 * "etc/acpi/tables" holds all tables but the RSDP, "etc/acpi/rsdp" that one. Addresses are unknown
 * until the firmware has placed the files, so "etc/table-loader" lists what it must do: allocate
 * each file, add a file's address to a field, compute a checksum. Records are 128 bytes.
 *
 * Where the firmware has placed the ACPI registers and the PCI windows is known only when it asks
 * for the tables: they are made anew then, in the same size.
 */
#include "bios/tables.h"

#include "hw/alloc.h"
#include "hw/chipset/hpet.h"
#include "hw/chipset/ich9_lpc.h"
#include "hw/chipset/piix4_pm.h"
#include "hw/irq/ioapic.h"

#include <string.h>

extern const uint8_t bios_dsdt_pc[], bios_dsdt_pc_end[];
extern const uint8_t bios_dsdt_q35[], bios_dsdt_q35_end[];

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE   "etc/acpi/rsdp"
#define LOADER_FILE "etc/table-loader"

/* -- Board facts that the tables repeat (hw/pc.c, hw/chipset/) -- */

#define PM_BASE     0x600 /* where SeaBIOS puts the registers; until the firmware has */
#define SCI_IRQ     9
#define RESET_PORT  0xcf9
#define RESET_VALUE 0x06
#define LAPIC_BASE  0xfee00000u

/* 32-bit addresses for PCI lie between RAM (or 2 GiB, where firmware begins) and the I/O APIC. */
#define WINDOW_FIRST 0x80000000u
#define WINDOW_END   0xfec00000u
#define WINDOW_64    0x800000000ull /* size of the window above RAM, at a multiple of it */

/* What the builders need. */
struct acpi {
    struct bios_config config;
    struct machine_platform platform;
    struct fw_cfg *fw_cfg;
};

/* -- Loader script -- */

enum loader_command { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };
enum loader_zone { ZONE_HIGH = 1, ZONE_FSEG = 2 };

#define LOADER_NAME_SIZE   56
#define LOADER_RECORD_SIZE 128

static void loader_name(struct table *loader, const char *name)
{
    size_t offset = table_append(loader, NULL, LOADER_NAME_SIZE);
    strncpy((char *)loader->bytes + offset, name, LOADER_NAME_SIZE - 1);
}

static void loader_end_record(struct table *loader)
{
    table_align(loader, LOADER_RECORD_SIZE);
}

static void loader_allocate(struct table *loader, const char *file, uint32_t alignment,
                            enum loader_zone zone)
{
    table_u32(loader, LOADER_ALLOCATE);
    loader_name(loader, file);
    table_u32(loader, alignment);
    table_u8(loader, zone);
    loader_end_record(loader);
}

/* Adds the address of `target` to the `size`-byte field at `offset` of `file`. */
static void loader_pointer(struct table *loader, const char *file, size_t offset, uint8_t size,
                           const char *target)
{
    table_u32(loader, LOADER_ADD_POINTER);
    loader_name(loader, file);
    loader_name(loader, target);
    table_u32(loader, (uint32_t)offset);
    table_u8(loader, size);
    loader_end_record(loader);
}

static void loader_checksum(struct table *loader, const char *file, size_t offset, size_t start,
                            size_t length)
{
    table_u32(loader, LOADER_ADD_CHECKSUM);
    loader_name(loader, file);
    table_u32(loader, (uint32_t)offset);
    table_u32(loader, (uint32_t)start);
    table_u32(loader, (uint32_t)length);
    loader_end_record(loader);
}

/* -- Common table header (5.2.6) -- */

#define HEADER_LENGTH   4
#define HEADER_CHECKSUM 9

static size_t begin_table(struct table *tables, const char *signature, uint8_t revision)
{
    table_align(tables, 16);
    size_t start = table_append(tables, signature, 4);
    table_u32(tables, 0); /* length, by end_table */
    table_u8(tables, revision);
    table_u8(tables, 0); /* checksum, by the loader */
    table_append(tables, "DOPPEL", 6);
    table_append(tables, "DOPPELPC", 8);
    table_u32(tables, 1);
    table_append(tables, "DPPL", 4);
    table_u32(tables, 1);
    return start;
}

static void end_table(struct table *tables, struct table *loader, size_t start)
{
    table_patch(tables, start + HEADER_LENGTH, tables->size - start, 4);
    loader_checksum(loader, TABLES_FILE, start + HEADER_CHECKSUM, start, tables->size - start);
}

/* A field that holds the address of something inside the tables file. */
static void table_pointer(struct table *tables, struct table *loader, size_t target, uint8_t size)
{
    size_t offset = table_append(tables, NULL, size);
    table_patch(tables, offset, target, size);
    loader_pointer(loader, TABLES_FILE, offset, size, TABLES_FILE);
}

enum address_space { SPACE_MEMORY = 0, SPACE_IO = 1 };

/* Generic Address Structure (5.2.3.2). */
static void generic_address(struct table *tables, enum address_space space, uint8_t bits,
                            uint8_t access, uint64_t address)
{
    table_u8(tables, space);
    table_u8(tables, bits);
    table_u8(tables, 0);
    table_u8(tables, access);
    table_u64(tables, address);
}

/* -- The tables -- */

/* Firmware ACPI Control Structure (5.2.10): no checksum, 64-byte aligned. */
static size_t build_facs(struct table *tables)
{
    table_align(tables, 64);
    size_t start = table_append(tables, "FACS", 4);
    table_u32(tables, 64);
    table_append(tables, NULL, 24);
    table_u8(tables, 1); /* version */
    table_append(tables, NULL, 31);
    return start;
}

/* Stores 64-bit numbers behind the mark that the DSDT left for them. */
static void fill_mark(struct table *tables, size_t start, const char *mark, const uint64_t *numbers,
                      unsigned count)
{
    uint8_t *at = memmem(tables->bytes + start, tables->size - start, mark, strlen(mark));
    size_t offset = at ? (size_t)(at - tables->bytes) + strlen(mark) : 0;

    for (unsigned i = 0; at && i < count; i++)
        table_patch(tables, offset + 8 * i, numbers[i], 8);
}

/* bios/dsdt_windows.asi says what these numbers are. */
static void fill_windows(struct table *tables, size_t start, const struct acpi *acpi)
{
    const struct machine_platform *platform = &acpi->platform;
    uint64_t low = acpi->config.ram_low, top = (1ull << 32) + acpi->config.ram_high;
    uint64_t first = low > WINDOW_FIRST ? low : WINDOW_FIRST;
    uint64_t ecam = platform->ecam, ecam_size = (uint64_t)platform->ecam_buses << 20;
    uint64_t above = (top + WINDOW_64 - 1) / WINDOW_64 * WINDOW_64;
    uint64_t windows[6] = {first, WINDOW_END - 1, 0, 0, above, above + WINDOW_64 - 1};

    if (ecam && ecam <= first) {
        windows[0] = ecam + ecam_size;
    } else if (ecam) {
        windows[1] = ecam - 1;
        windows[2] = ecam + ecam_size;
        windows[3] = WINDOW_END - 1;
    }
    fill_mark(tables, start, "DPPLWIND", windows, 6);
    fill_mark(tables, start, "DPPLECAM", (uint64_t[]){ecam, ecam_size}, 2);
}

static size_t build_dsdt(struct table *tables, struct table *loader, const struct acpi *acpi)
{
    bool q35 = acpi->platform.board == MACHINE_Q35;
    const uint8_t *aml = q35 ? bios_dsdt_q35 : bios_dsdt_pc;
    size_t size = (size_t)((q35 ? bios_dsdt_q35_end : bios_dsdt_pc_end) - aml);

    table_align(tables, 16);
    size_t start = table_append(tables, aml, size);
    fill_windows(tables, start, acpi);
    table_patch(tables, start + HEADER_CHECKSUM, 0, 1);
    loader_checksum(loader, TABLES_FILE, start + HEADER_CHECKSUM, start, size);
    return start;
}

enum fadt_flag {
    FADT_WBINVD = 1 << 0,
    FADT_PROC_C1 = 1 << 2,
    FADT_SLEEP_BUTTON = 1 << 5, /* no fixed sleep button */
    FADT_RESET_REGISTER = 1 << 10,
    FADT_PLATFORM_CLOCK = 1 << 15,
};
enum iapc_flag { IAPC_LEGACY_DEVICES = 1 << 0, IAPC_8042 = 1 << 1 };

/* Fixed ACPI Description Table (5.2.9), revision 3. */
static size_t build_fadt(struct table *tables, struct table *loader, const struct acpi *acpi,
                         size_t facs, size_t dsdt)
{
    bool q35 = acpi->platform.board == MACHINE_Q35;
    uint16_t pm_base = acpi->platform.pm_base ? acpi->platform.pm_base : PM_BASE;
    uint32_t gpe0 = q35 ? pm_base + ICH9_GPE0_OFFSET : PIIX4_GPE0_PORT;
    uint8_t gpe0_bytes = q35 ? ICH9_GPE0_BYTES : PIIX4_GPE0_BYTES;
    size_t start = begin_table(tables, "FACP", 3);
    table_pointer(tables, loader, facs, 4);
    table_pointer(tables, loader, dsdt, 4);
    table_u8(tables, 0);
    table_u8(tables, 0); /* preferred profile: unspecified */
    table_u16(tables, SCI_IRQ);
    table_u32(tables, ACPI_PM_SMI_PORT);
    table_u8(tables, ACPI_PM_ENABLE);
    table_u8(tables, ACPI_PM_DISABLE);
    table_u8(tables, 0); /* S4BIOS */
    table_u8(tables, 0); /* P-state control */
    table_u32(tables, pm_base);
    table_u32(tables, 0);
    table_u32(tables, pm_base + 4);
    table_u32(tables, 0);
    table_u32(tables, 0);
    table_u32(tables, pm_base + 8);
    table_u32(tables, gpe0);
    table_u32(tables, 0);
    table_u8(tables, 4); /* PM1 event block length */
    table_u8(tables, 2); /* PM1 control */
    table_u8(tables, 0); /* PM2 control */
    table_u8(tables, 4); /* PM timer */
    table_u8(tables, gpe0_bytes);
    table_u8(tables, 0); /* GPE1 */
    table_u8(tables, 0);
    table_u8(tables, 0);      /* C-state control */
    table_u16(tables, 0xfff); /* no C2 */
    table_u16(tables, 0xfff); /* no C3 */
    table_u16(tables, 0);
    table_u16(tables, 0);
    table_u8(tables, 0);
    table_u8(tables, 0);
    table_u8(tables, 0);
    table_u8(tables, 0);
    table_u8(tables, 0x32); /* RTC century register */
    table_u16(tables, IAPC_LEGACY_DEVICES | IAPC_8042);
    table_u8(tables, 0);
    table_u32(tables, FADT_WBINVD | FADT_PROC_C1 | FADT_SLEEP_BUTTON | FADT_RESET_REGISTER |
                          FADT_PLATFORM_CLOCK);
    generic_address(tables, SPACE_IO, 8, 1, RESET_PORT);
    table_u8(tables, RESET_VALUE);
    table_append(tables, NULL, 3);
    table_u64(tables, 0); /* X_FIRMWARE_CTRL: the 32-bit field is used */
    table_pointer(tables, loader, dsdt, 8);
    generic_address(tables, SPACE_IO, 32, 2, pm_base);
    table_append(tables, NULL, 12);
    generic_address(tables, SPACE_IO, 16, 2, pm_base + 4);
    table_append(tables, NULL, 12);
    table_append(tables, NULL, 12);
    generic_address(tables, SPACE_IO, 32, 3, pm_base + 8);
    generic_address(tables, SPACE_IO, (uint8_t)(8 * gpe0_bytes), 1, gpe0);
    table_append(tables, NULL, 12);
    end_table(tables, loader, start);
    return start;
}

enum madt_type { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LAPIC_NMI = 4 };
#define MADT_LEVEL_HIGH 0x000d

static void madt_override(struct table *tables, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    table_u8(tables, MADT_OVERRIDE);
    table_u8(tables, 10);
    table_u8(tables, 0); /* ISA */
    table_u8(tables, irq);
    table_u32(tables, gsi);
    table_u16(tables, flags);
}

/* Multiple APIC Description Table (5.2.12). */
static size_t build_madt(struct table *tables, struct table *loader, unsigned cpus)
{
    size_t start = begin_table(tables, "APIC", 3);
    table_u32(tables, LAPIC_BASE);
    table_u32(tables, 1); /* PC-AT compatible: a pair of 8259s is there too */
    for (unsigned i = 0; i < cpus; i++) {
        table_u8(tables, MADT_LAPIC);
        table_u8(tables, 8);
        table_u8(tables, (uint8_t)i);
        table_u8(tables, (uint8_t)i);
        table_u32(tables, 1);
    }
    table_u8(tables, MADT_IOAPIC);
    table_u8(tables, 12);
    table_u8(tables, 0);
    table_u8(tables, 0);
    table_u32(tables, (uint32_t)IOAPIC_BASE);
    table_u32(tables, 0);

    madt_override(tables, 0, 2, 0); /* the timer is wired to pin 2 */
    static const uint8_t level_irqs[] = {5, 9, 10, 11};
    for (size_t i = 0; i < sizeof level_irqs; i++)
        madt_override(tables, level_irqs[i], level_irqs[i], MADT_LEVEL_HIGH);

    table_u8(tables, MADT_LAPIC_NMI);
    table_u8(tables, 6);
    table_u8(tables, 0xff); /* every processor */
    table_u16(tables, 0);
    table_u8(tables, 1); /* LINT1 */
    end_table(tables, loader, start);
    return start;
}

/* IA-PC HPET Specification 1.0a, section 3.2.4. */
static size_t build_hpet(struct table *tables, struct table *loader)
{
    size_t start = begin_table(tables, "HPET", 1);
    table_u32(tables, HPET_ID);
    generic_address(tables, SPACE_MEMORY, 0, 0, HPET_BASE);
    table_u8(tables, 0); /* number */
    table_u16(tables, HPET_MIN_TICK);
    table_u8(tables, 0); /* no page protection */
    end_table(tables, loader, start);
    return start;
}

/* Memory-mapped configuration space (PCI Firmware 3.1, section 4.1.2). */
static size_t build_mcfg(struct table *tables, struct table *loader, const struct acpi *acpi)
{
    unsigned buses = acpi->platform.ecam_buses ? acpi->platform.ecam_buses : 1;
    size_t start = begin_table(tables, "MCFG", 1);
    table_append(tables, NULL, 8);
    table_u64(tables, acpi->platform.ecam);
    table_u16(tables, 0); /* segment */
    table_u8(tables, 0);
    table_u8(tables, (uint8_t)(buses - 1));
    table_append(tables, NULL, 4);
    end_table(tables, loader, start);
    return start;
}

static size_t build_rsdt(struct table *tables, struct table *loader, const size_t *entries,
                         size_t count)
{
    size_t start = begin_table(tables, "RSDT", 1);
    for (size_t i = 0; i < count; i++)
        table_pointer(tables, loader, entries[i], 4);
    end_table(tables, loader, start);
    return start;
}

/* Root System Description Pointer (5.2.5.3), revision 0. */
static void build_rsdp(struct table *rsdp, struct table *loader, size_t rsdt)
{
    table_append(rsdp, "RSD PTR ", 8);
    size_t checksum = table_u8(rsdp, 0);
    table_append(rsdp, "DOPPEL", 6);
    table_u8(rsdp, 0);
    size_t pointer = table_u32(rsdp, (uint32_t)rsdt);
    loader_pointer(loader, RSDP_FILE, pointer, 4, TABLES_FILE);
    loader_checksum(loader, RSDP_FILE, checksum, 0, rsdp->size);
}

static void make_files(struct acpi *acpi)
{
    struct fw_cfg *fw_cfg = acpi->fw_cfg;
    struct table tables = {0}, rsdp = {0}, loader = {0};

    if (acpi->config.machine)
        acpi->platform = machine_platform(acpi->config.machine);
    loader_allocate(&loader, TABLES_FILE, 64, ZONE_HIGH);
    loader_allocate(&loader, RSDP_FILE, 16, ZONE_FSEG);

    size_t facs = build_facs(&tables);
    size_t dsdt = build_dsdt(&tables, &loader, acpi);
    size_t entries[4], count = 0;
    entries[count++] = build_fadt(&tables, &loader, acpi, facs, dsdt);
    entries[count++] = build_madt(&tables, &loader, acpi->config.cpus);
    entries[count++] = build_hpet(&tables, &loader);
    if (acpi->platform.board == MACHINE_Q35)
        entries[count++] = build_mcfg(&tables, &loader, acpi);
    size_t rsdt = build_rsdt(&tables, &loader, entries, count);
    build_rsdp(&rsdp, &loader, rsdt);

    fw_cfg_add_file(fw_cfg, TABLES_FILE, tables.bytes, tables.size);
    fw_cfg_add_file(fw_cfg, RSDP_FILE, rsdp.bytes, rsdp.size);
    fw_cfg_add_file(fw_cfg, LOADER_FILE, loader.bytes, loader.size);
    table_free(&tables);
    table_free(&rsdp);
    table_free(&loader);
}

static void item_selected(void *opaque, uint16_t key)
{
    struct acpi *acpi = opaque;

    if (key == fw_cfg_file_key(acpi->fw_cfg, TABLES_FILE) ||
        key == fw_cfg_file_key(acpi->fw_cfg, LOADER_FILE))
        make_files(acpi);
}

void acpi_add_tables(struct fw_cfg *fw_cfg, const struct bios_config *config)
{
    struct acpi *acpi = alloc_zeroed(sizeof *acpi);

    acpi->config = *config;
    acpi->fw_cfg = fw_cfg;
    fw_cfg_keep(fw_cfg, acpi);
    make_files(acpi);
    fw_cfg_on_select(fw_cfg, item_selected, acpi);
}
