/*
 * The whole board: every device's state table, saving and loading all of them at once, in the
 * middle of real firmware too, resets, and two machines in one process.
 */
#include "hw/state.h"
#include "tests/hw/board.h"

#include <stdlib.h>

static struct board_parts parts;

static void setup(void)
{
    log_items = 0; /* the noise of these tests would only fill the log */
    board_parts_load(&parts);
}

static void teardown(void)
{
    board_parts_free(&parts);
}

/* -- The tables -- */

static void check_fields(const char *id, const struct field *fields, uint32_t version)
{
    ck_assert_msg(fields != NULL, "%s has no state table", id);
    for (const struct field *field = fields; field->name; field++) {
        ck_assert_msg(field->since >= 1 && field->since <= version, "%s: %s is of version %u", id,
                      field->name, field->since);
        ck_assert_msg(field->size > 0 && field->count > 0, "%s: %s is empty", id, field->name);
        for (const struct field *other = fields; other != field; other++) {
            ck_assert_msg(strcmp(other->name, field->name) != 0, "%s: %s is there twice", id,
                          field->name);
            ck_assert_msg(other->offset + (size_t)other->size * other->count <= field->offset ||
                              field->offset + (size_t)field->size * field->count <= other->offset,
                          "%s: %s and %s overlap", id, other->name, field->name);
        }
        if (field->nested)
            check_fields(id, field->nested, version);
    }
}

START_TEST(every_device_has_a_state_table)
{
    struct machine *machine = board_new(&parts);
    unsigned count = 0;

    for (struct device *device = machine_devices(machine)->first; device; device = device->next) {
        ck_assert_ptr_nonnull(device->ops);
        ck_assert_ptr_nonnull(device->ops->name);
        ck_assert_msg(device->id[0], "a %s has no id", device->ops->name);
        ck_assert_msg(device->ops->reset != NULL, "%s cannot be reset", device->id);
        ck_assert_msg(device->ops->destroy != NULL, "%s cannot be freed", device->id);
        check_fields(device->id, device->ops->fields, device->ops->version);
        for (struct device *other = device->next; other; other = other->next)
            ck_assert_msg(strcmp(device->id, other->id) != 0, "two devices are called %s",
                          device->id);
        count++;
    }
    ck_assert_uint_ge(count, 18);
    check_fields("cpu0", cpu_fields, cpu_fields_version);
    machine_free(machine);
}
END_TEST

/* -- Saving and loading -- */

/* Requests in flight end: they are no part of a state. */
static void settle(struct machine *machine)
{
    machine_lock(machine);
    loop_drain(machine_loop(machine));
    machine_unlock(machine);
}

/* Devices, processor and RAM of one machine put into another; both are paused. */
static void copy_machine(struct machine *to, struct machine *from)
{
    struct state_buffer devices = {0}, cpu = {0};
    struct error error = {""};

    settle(from);
    settle(to);
    machine_lock(from);
    state_save_devices(&devices, machine_devices(from));
    machine_unlock(from);
    state_save_struct(&cpu, "cpu", "cpu0", cpu_fields_version, cpu_fields, machine_cpu(from, 0));
    memcpy(memory_ram_host(machine_memory(to)), memory_ram_host(machine_memory(from)),
           BOARD_MEMORY);
    clock_set(machine_clock(to), clock_now(machine_clock(from)));

    machine_lock(to);
    bool ok = state_load_struct(cpu.bytes, cpu.length, "cpu", "cpu0", cpu_fields_version,
                                cpu_fields, machine_cpu(to, 0), &error) &&
              cpu_post_load(machine_cpu(to, 0), &error) &&
              state_load_devices(devices.bytes, devices.length, machine_devices(to), &error);
    machine_unlock(to);
    ck_assert_msg(ok, "%s", error.text);
    state_buffer_free(&devices);
    state_buffer_free(&cpu);
}

/* Requests to the engine are no part of what the guest can see. */
static void forget_requests(struct machine *machine)
{
    atomic_fetch_and(&machine_cpu(machine, 0)->event,
                     ~(uint32_t)(EVENT_STOP | EVENT_FLUSH_TLB | EVENT_FLUSH_CODE));
}

static void check_same(struct machine *left, struct machine *right)
{
    struct error difference = {""};

    settle(left);
    settle(right);
    forget_requests(left);
    forget_requests(right);

    ck_assert_msg(state_compare_devices(machine_devices(left), machine_devices(right), &difference),
                  "%s", difference.text);
    ck_assert_msg(
        state_compare(cpu_fields, machine_cpu(left, 0), machine_cpu(right, 0), &difference),
        "cpu0: %s", difference.text);
}

/* Programs every device with noise, but leaves nothing running behind the test's back. */
static void disturb(struct machine *machine, uint64_t seed, unsigned accesses)
{
    machine_lock(machine);
    for (unsigned i = 0; i < accesses; i++) {
        uint64_t noise = board_random(&seed);
        uint16_t port = (uint16_t)(noise >> 32);
        unsigned size = 1u << (noise >> 16) % 3;
        if (noise >> 20 & 3)
            port &= 0x3ff; /* most devices live there */
        if (port >> 4 == 0xcf)
            continue; /* PCI configuration has its own noise below */
        if (noise & 0x100)
            io_bus_read(machine->io, port, size);
        else
            io_bus_write(machine->io, port, (uint32_t)noise, size);
    }
    for (unsigned i = 0; i < accesses / 8; i++) {
        uint64_t noise = board_random(&seed);
        pci_config_write(machine->pci, (uint8_t)(noise % 32), (uint8_t)(noise >> 8) & 0xfc,
                         (uint32_t)(noise >> 32), 4);
    }
    loop_drain(machine_loop(machine));
    atomic_store(&machine->state, MACHINE_PAUSED); /* some noise switches the machine off */
    machine_unlock(machine);
}

START_TEST(noise_survives_saving_and_loading)
{
    struct machine *saved = board_new(&parts), *loaded = board_new(&parts);

    for (uint64_t round = 1; round <= 20; round++) {
        disturb(saved, 2 * round, 3000);
        disturb(loaded, 2 * round + 1, 3000);
        copy_machine(loaded, saved);
        check_same(saved, loaded);
    }
    machine_free(saved);
    machine_free(loaded);
}
END_TEST

static void run_for(struct machine *machine, uint64_t ns)
{
    uint64_t end = clock_now(machine_clock(machine)) + ns;

    machine_start(machine);
    while (clock_now(machine_clock(machine)) < end && machine_state(machine) == MACHINE_RUNNING)
        machine_turn(machine, end - clock_now(machine_clock(machine)));
    machine_pause(machine);
}

/* Runs until the firmware said `text`; false if it did not within half a minute. Stops soon after:
 * the firmware needs about 100 ms for everything. */
static bool run_until(struct machine *machine, struct board_text *console, const char *text)
{
    for (int i = 0; i < 15000 && !strstr(console->bytes, text); i++)
        run_for(machine, NS_PER_SECOND / 500);
    return strstr(console->bytes, text) != NULL;
}

START_TEST(firmware_goes_on_in_another_machine)
{
    static struct board_text text, text_of_copy;
    struct machine *machine = board_new(&parts), *copy = board_new(&parts);

    if (!parts.real_firmware) {
        run_for(machine, NS_PER_SECOND / 10);
        copy_machine(copy, machine);
        check_same(machine, copy);
        machine_free(machine);
        machine_free(copy);
        return;
    }
    board_listen(machine, &text);
    board_listen(copy, &text_of_copy);
    ck_assert(run_until(machine, &text, "ATA controller 1"));
    ck_assert_ptr_null(strstr(text.bytes, "No bootable device"));
    disturb(copy, 77, 3000);
    copy_machine(copy, machine);
    check_same(machine, copy);
    ck_assert_msg(run_until(copy, &text_of_copy, "No bootable device"),
                  "the copy's firmware got no further than:\n%s\nand before the copy:\n%s",
                  text_of_copy.bytes, text.bytes);
    machine_free(copy);
    ck_assert_msg(run_until(machine, &text, "No bootable device"), "the firmware said:\n%s",
                  text.bytes);
    machine_free(machine);
}
END_TEST

/* -- Reset -- */

static void reset_now(struct machine *machine)
{
    machine_lock(machine);
    device_list_reset(machine_devices(machine));
    cpu_reset(machine_cpu(machine, 0));
    machine_unlock(machine);
}

/* The clock chip's memory and time live from a battery: they are the guest's business. */
static void forget_battery(struct machine *machine)
{
    machine_lock(machine);
    for (struct device *device = machine_devices(machine)->first; device; device = device->next) {
        if (strcmp(device->id, "rtc") != 0)
            continue;
        for (const struct field *field = device->ops->fields; field->name; field++)
            memset((char *)device + field->offset, 0, (size_t)field->size * field->count);
    }
    machine_unlock(machine);
}

START_TEST(reset_brings_the_fresh_state)
{
    struct machine *fresh = board_new(&parts), *used = board_new(&parts);

    for (uint64_t round = 1; round <= 5; round++) {
        disturb(used, 1000 + round, 5000);
        reset_now(used);
        forget_battery(used);
        forget_battery(fresh);
        check_same(fresh, used);
    }
    machine_free(fresh);
    machine_free(used);
}
END_TEST

START_TEST(firmware_starts_again_after_a_reset)
{
    static struct board_text text;
    struct machine *machine = board_new(&parts);

    board_listen(machine, &text);
    if (parts.real_firmware) {
        ck_assert(run_until(machine, &text, "SeaBIOS (version"));
        run_for(machine, NS_PER_SECOND / 10);
        board_listen(machine, &text);
        machine_reset(machine);
        ck_assert_msg(run_until(machine, &text, "SeaBIOS (version"), "after the reset:\n%s",
                      text.bytes);
    } else {
        machine_reset(machine);
        run_for(machine, NS_PER_SECOND / 10);
    }
    machine_free(machine);
}
END_TEST

/* -- Several machines -- */

START_TEST(two_machines_run_at_once)
{
    static struct board_text text[2];
    struct machine *machine[2];

    for (int i = 0; i < 2; i++) {
        machine[i] = board_new(&parts);
        board_listen(machine[i], &text[i]);
        machine_start(machine[i]);
    }
    for (int turn = 0; turn < 30000; turn++) {
        bool done = true;
        for (int i = 0; i < 2; i++) {
            machine_turn(machine[i], NS_PER_SECOND / 1000);
            machine_lock(machine[i]);
            done &= !parts.real_firmware || strstr(text[i].bytes, "SeaBIOS (version") != NULL;
            machine_unlock(machine[i]);
        }
        if (done)
            break;
    }
    for (int i = 0; i < 2; i++) {
        machine_pause(machine[i]);
        ck_assert_uint_gt(machine_instructions(machine[i]), 0);
        if (parts.real_firmware)
            ck_assert_msg(strstr(text[i].bytes, "SeaBIOS (version"), "machine %d said:\n%s", i,
                          text[i].bytes);
    }
    machine_free(machine[0]);
    machine_start(machine[1]); /* the other one goes on */
    machine_turn(machine[1], NS_PER_SECOND / 100);
    machine_free(machine[1]);
}
END_TEST

START_TEST(machines_start_pause_and_end_in_any_order)
{
    struct machine *machine = board_new(&parts);

    machine_pause(machine);
    for (int i = 0; i < 200; i++) {
        machine_start(machine);
        machine_start(machine);
        if (i % 3 == 0)
            machine_reset(machine);
        if (i % 5 == 0)
            machine_turn(machine, 100000);
        machine_pause(machine);
        ck_assert_int_eq(machine_state(machine), MACHINE_PAUSED);
        ck_assert(!clock_running(machine_clock(machine)));
    }
    machine_start(machine);
    machine_free(machine); /* while it runs */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("board");
    TCase *cases = tcase_create("board");

    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, every_device_has_a_state_table);
    tcase_add_test(cases, noise_survives_saving_and_loading);
    tcase_add_test(cases, firmware_goes_on_in_another_machine);
    tcase_add_test(cases, reset_brings_the_fresh_state);
    tcase_add_test(cases, firmware_starts_again_after_a_reset);
    tcase_add_test(cases, two_machines_run_at_once);
    tcase_add_test(cases, machines_start_pause_and_end_in_any_order);
    suite_add_tcase(suite, cases);

    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
