/*
 * Saved state: it comes back as it was, versions are honoured, and no damaged file does harm.
 */
#include "hw/state.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct channel {
    uint16_t count;
    bool gate;
};

struct gadget {
    struct device device;
    uint32_t control;
    uint8_t fifo[5];
    struct channel channel[3];
    struct channel spare;
    uint64_t added_later;
    unsigned derived; /* not saved */
};

static const struct field channel_fields[] = {
    FIELD(struct channel, count, 1),
    FIELD(struct channel, gate, 1),
    FIELD_END,
};

static const struct field old_fields[] = {
    FIELD(struct gadget, control, 1),
    FIELD_ARRAY(struct gadget, fifo, 1),
    FIELD_STRUCTS(struct gadget, channel, channel_fields, 1),
    FIELD_STRUCT(struct gadget, spare, channel_fields, 1),
    FIELD_END,
};

static const struct field new_fields[] = {
    FIELD(struct gadget, control, 1),
    FIELD_ARRAY(struct gadget, fifo, 1),
    FIELD_STRUCTS(struct gadget, channel, channel_fields, 1),
    FIELD_STRUCT(struct gadget, spare, channel_fields, 1),
    FIELD(struct gadget, added_later, 2),
    FIELD_END,
};

static bool gadget_post_load(struct device *device, struct error *error)
{
    struct gadget *gadget = (struct gadget *)device;

    if (gadget->control > 1000)
        return error_set(error, "control is impossible");
    gadget->derived = gadget->control + 1;
    return true;
}

static const struct device_ops old_ops = {.name = "gadget", .fields = old_fields, .version = 1};
static const struct device_ops new_ops = {
    .name = "gadget", .fields = new_fields, .version = 2, .post_load = gadget_post_load};

static struct gadget source[2], target[2];
static struct device_list source_list, target_list;
static struct state_buffer buffer;
static struct error error;

static void fill(struct gadget *gadget, unsigned seed)
{
    gadget->control = 100 + seed;
    for (unsigned i = 0; i < 5; i++)
        gadget->fifo[i] = (uint8_t)(seed + i);
    for (unsigned i = 0; i < 3; i++)
        gadget->channel[i] = (struct channel){(uint16_t)(1000 * i + seed), i % 2};
    gadget->spare = (struct channel){77, true};
    gadget->added_later = 0x123456789abcdef0;
}

static void build(struct device_list *list, struct gadget *gadgets, const struct device_ops *ops)
{
    device_list_init(list);
    memset(gadgets, 0, 2 * sizeof *gadgets);
    device_add(list, &gadgets[0].device, ops, "gadget0");
    device_add(list, &gadgets[1].device, ops, "gadget1");
}

static void setup(void)
{
    build(&source_list, source, &new_ops);
    build(&target_list, target, &new_ops);
    fill(&source[0], 1);
    fill(&source[1], 2);
    state_save_devices(&buffer, &source_list);
    memset(&error, 0, sizeof error);
}

static void teardown(void)
{
    state_buffer_free(&buffer);
}

static bool load(void)
{
    return state_load_devices(buffer.bytes, buffer.length, &target_list, &error);
}

START_TEST(comes_back_as_it_was)
{
    struct error difference;

    ck_assert(!state_compare_devices(&source_list, &target_list, &difference));
    ck_assert_str_eq(difference.text, "gadget0.control: 0x65 != 0x0");
    ck_assert_msg(load(), "%s", error.text);
    ck_assert_msg(state_compare_devices(&source_list, &target_list, &difference), "%s",
                  difference.text);
    ck_assert_uint_eq(target[1].derived, 103);
    ck_assert_uint_eq(target[1].channel[2].count, 2002);

    struct state_buffer again = {0};
    state_save_devices(&again, &target_list);
    ck_assert_uint_eq(again.length, buffer.length);
    ck_assert_mem_eq(again.bytes, buffer.bytes, buffer.length);
    state_buffer_free(&again);
}
END_TEST

START_TEST(comparison_names_the_field)
{
    ck_assert(load());
    target[1].channel[2].gate = true;
    ck_assert(!state_compare_devices(&source_list, &target_list, &error));
    ck_assert_str_eq(error.text, "gadget1.channel[2].gate: 0x0 != 0x1");
    target[1].channel[2].gate = false;
    target[0].fifo[3] = 0xee;
    ck_assert(!state_compare(new_fields, &source[0], &target[0], &error));
    ck_assert_str_eq(error.text, "fifo[3]: 0x4 != 0xee");
    ck_assert(state_compare(new_fields, &source[1], &target[1], NULL));
}
END_TEST

START_TEST(older_state_loads_newer_does_not)
{
    struct gadget old[2];
    struct device_list old_list;

    build(&old_list, old, &old_ops);
    fill(&old[0], 5);
    fill(&old[1], 6);
    state_buffer_free(&buffer);
    state_save_devices(&buffer, &old_list);
    target[0].added_later = 42; /* as reset leaves it */
    ck_assert_msg(load(), "%s", error.text);
    ck_assert_uint_eq(target[0].control, 105);
    ck_assert_uint_eq(target[0].added_later, 42);

    state_buffer_free(&buffer);
    state_save_devices(&buffer, &source_list);
    ck_assert(!state_load_devices(buffer.bytes, buffer.length, &old_list, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "version 2"));
}
END_TEST

START_TEST(other_machines_are_refused)
{
    struct gadget extra = {0};

    device_add(&target_list, &extra.device, &new_ops, "gadget2");
    ck_assert(!load());
    ck_assert_ptr_nonnull(strstr(error.text, "gadget2"));
    ck_assert_uint_eq(target[0].control, 0); /* nothing was changed */

    strcpy(target[1].device.id, "other");
    ck_assert(!load());
    ck_assert_ptr_nonnull(strstr(error.text, "gadget1"));
}
END_TEST

START_TEST(post_load_can_refuse)
{
    source[1].control = 5000;
    state_buffer_free(&buffer);
    state_save_devices(&buffer, &source_list);
    ck_assert(!load());
    ck_assert_str_eq(error.text, "control is impossible");
}
END_TEST

static size_t find(const char *name)
{
    uint8_t *at = memmem(buffer.bytes, buffer.length, name, strlen(name));

    ck_assert_ptr_nonnull(at);
    return (size_t)(at - buffer.bytes);
}

START_TEST(fields_must_match)
{
    size_t name = find("fifo");

    buffer.bytes[name] = 'g';
    ck_assert(!load());
    ck_assert_ptr_nonnull(strstr(error.text, "\"gifo\""));
    buffer.bytes[name] = 'f';
    buffer.bytes[name + 4 + 4] = 6; /* count */
    ck_assert(!load());
    ck_assert_ptr_nonnull(strstr(error.text, "fifo"));
    ck_assert_ptr_nonnull(strstr(error.text, "6 elements"));
    buffer.bytes[name + 4 + 4] = 5;
    /* A bool that is neither. */
    name = find("gate");
    buffer.bytes[name + 4 + 13] = 2;
    ck_assert(!load());
    ck_assert_ptr_nonnull(strstr(error.text, "channel[0].gate"));
    buffer.bytes[name + 4 + 13] = 0;
    ck_assert_msg(load(), "%s", error.text);
    /* The same field twice instead of another. */
    memcpy(buffer.bytes + find("spare"), "channel", 5);
    ck_assert(!load());
}
END_TEST

struct pair {
    uint8_t a, b, c;
};

START_TEST(a_field_counts_once)
{
    static const struct field three[] = {FIELD(struct pair, a, 1), FIELD(struct pair, b, 1),
                                         FIELD(struct pair, c, 1), FIELD_END};
    static const struct field two[] = {FIELD(struct pair, a, 1), FIELD(struct pair, b, 1),
                                       FIELD_END};
    struct pair pair = {1, 2, 3};
    struct state_buffer file = {0};

    state_save_struct(&file, "pair", "p", 1, three, &pair);
    uint8_t *name = memmem(file.bytes, file.length, "\1c", 2);
    ck_assert_ptr_nonnull(name);
    name[1] = 'a';
    ck_assert(!state_load_struct(file.bytes, file.length, "pair", "p", 1, two, &pair, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "damaged"));
    ck_assert_uint_eq(pair.a, 1);
    state_buffer_free(&file);
}
END_TEST

START_TEST(every_cut_is_noticed)
{
    for (size_t length = 0; length < buffer.length; length++) {
        uint8_t *exact = malloc(length ? length : 1); /* for the address sanitizer */
        memcpy(exact, buffer.bytes, length);
        ck_assert(!state_load_devices(exact, length, &target_list, &error));
        ck_assert_str_ne(error.text, "");
        free(exact);
    }
    ck_assert_uint_eq(target[0].control, 0);
}
END_TEST

START_TEST(flipped_bytes_do_no_harm)
{
    srand(3);
    for (int round = 0; round < 20000; round++) {
        size_t at = (size_t)rand() % buffer.length;
        uint8_t old = buffer.bytes[at];
        buffer.bytes[at] = (uint8_t)rand();
        load();
        buffer.bytes[at] = old;
    }
    ck_assert_msg(load(), "%s", error.text);
}
END_TEST

START_TEST(single_structs)
{
    struct channel saved = {1234, true}, loaded = {0};
    struct state_buffer file = {0};

    state_save_struct(&file, "channel", "c", 1, channel_fields, &saved);
    ck_assert(state_load_struct(file.bytes, file.length, "channel", "c", 1, channel_fields, &loaded,
                                &error));
    ck_assert(state_compare(channel_fields, &saved, &loaded, NULL));
    ck_assert(!state_load_struct(file.bytes, file.length, "channel", "d", 1, channel_fields,
                                 &loaded, &error));
    state_buffer_free(&file);
}
END_TEST

START_TEST(dump_shows_each_field)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    state_dump(out, new_fields, &source[0]);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "control = 00000065\n"));
    ck_assert_ptr_nonnull(strstr(text, "fifo = 01 02 03 04 05\n"));
    ck_assert_ptr_nonnull(strstr(text, "channel[1].count = 03e9\n"));
    ck_assert_ptr_nonnull(strstr(text, "spare.gate = 01\n"));
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("state");
    TCase *tcase = tcase_create("state");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, comes_back_as_it_was);
    tcase_add_test(tcase, comparison_names_the_field);
    tcase_add_test(tcase, older_state_loads_newer_does_not);
    tcase_add_test(tcase, other_machines_are_refused);
    tcase_add_test(tcase, post_load_can_refuse);
    tcase_add_test(tcase, fields_must_match);
    tcase_add_test(tcase, a_field_counts_once);
    tcase_add_test(tcase, every_cut_is_noticed);
    tcase_add_test(tcase, flipped_bytes_do_no_harm);
    tcase_add_test(tcase, single_structs);
    tcase_add_test(tcase, dump_shows_each_field);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
