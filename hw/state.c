/*
 * Walking field tables: the four things done with state. The format stands in hw/state.h.
 */
#include "hw/state.h"
#include "hw/alloc.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "plain fields are written as they lie in memory; a big-endian host needs conversion here"
#endif

#define MAGIC      "doppel state"
#define MAGIC_SIZE (sizeof MAGIC - 1)
#define FORMAT     1u
#define FIELDS_MAX 512
#define NAME_MAX_  255

/* -- Paths: "channel[2].count" -- */

struct path {
    char text[160];
};

static struct path path_of(const struct path *parent, const struct field *field, uint32_t element)
{
    struct path path;
    const char *dot = parent->text[0] ? "." : "";

    if (field->count > 1)
        snprintf(path.text, sizeof path.text, "%.100s%s%.40s[%" PRIu32 "]", parent->text, dot,
                 field->name, element);
    else
        snprintf(path.text, sizeof path.text, "%.100s%s%.40s", parent->text, dot, field->name);
    return path;
}

static const uint8_t *element_of(const struct field *field, const void *object, uint32_t element)
{
    return (const uint8_t *)object + field->offset + (size_t)element * field->size;
}

/* -- Saving -- */

void state_buffer_free(struct state_buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct state_buffer){NULL, 0, 0};
}

static void put_bytes(struct state_buffer *buffer, const void *bytes, size_t count)
{
    if (buffer->capacity - buffer->length < count) {
        size_t capacity = buffer->capacity ? buffer->capacity : 4096;
        while (capacity - buffer->length < count)
            capacity *= 2;
        buffer->bytes = alloc_grown(buffer->bytes, capacity);
        buffer->capacity = capacity;
    }
    if (count)
        memcpy(buffer->bytes + buffer->length, bytes, count);
    buffer->length += count;
}

static void put_u32(struct state_buffer *buffer, uint32_t value)
{
    put_bytes(buffer, &value, sizeof value);
}

static void put_name(struct state_buffer *buffer, const char *name)
{
    size_t length = strlen(name);

    assert(length <= NAME_MAX_);
    put_bytes(buffer, &(uint8_t){(uint8_t)length}, 1);
    put_bytes(buffer, name, length);
}

/* A length is written as 0 and set when its end is known. */
static size_t begin_length(struct state_buffer *buffer)
{
    put_u32(buffer, 0);
    return buffer->length;
}

static void end_length(struct state_buffer *buffer, size_t begin)
{
    uint32_t length = (uint32_t)(buffer->length - begin);

    memcpy(buffer->bytes + begin - sizeof length, &length, sizeof length);
}

static void save_fields(struct state_buffer *buffer, const struct field *fields, const void *object)
{
    for (const struct field *field = fields; field->name; field++) {
        put_name(buffer, field->name);
        put_u32(buffer, field->size);
        put_u32(buffer, field->count);
        put_bytes(buffer, &(uint8_t){field->nested != NULL}, 1);
        size_t data = begin_length(buffer);
        if (!field->nested)
            put_bytes(buffer, element_of(field, object, 0), (size_t)field->size * field->count);
        for (uint32_t i = 0; field->nested && i < field->count; i++) {
            size_t element = begin_length(buffer);
            save_fields(buffer, field->nested, element_of(field, object, i));
            end_length(buffer, element);
        }
        end_length(buffer, data);
    }
}

static void save_header(struct state_buffer *buffer, uint32_t records)
{
    put_bytes(buffer, MAGIC, MAGIC_SIZE);
    put_u32(buffer, FORMAT);
    put_u32(buffer, records);
}

static void save_record(struct state_buffer *buffer, const char *type, const char *id,
                        uint32_t version, const struct field *fields, const void *object)
{
    put_name(buffer, type);
    put_name(buffer, id);
    put_u32(buffer, version);
    size_t body = begin_length(buffer);
    save_fields(buffer, fields, object);
    end_length(buffer, body);
}

void state_save_devices(struct state_buffer *buffer, const struct device_list *list)
{
    uint32_t records = 0;

    for (const struct device *device = list->first; device; device = device->next)
        records++;
    save_header(buffer, records);
    for (const struct device *device = list->first; device; device = device->next)
        save_record(buffer, device->ops->name, device->id, device->ops->version,
                    device->ops->fields, device);
}

void state_save_struct(struct state_buffer *buffer, const char *type, const char *id,
                       uint32_t version, const struct field *fields, const void *object)
{
    save_header(buffer, 1);
    save_record(buffer, type, id, version, fields, object);
}

/* -- Reading the format -- */

struct cursor {
    const uint8_t *at;
    size_t left;
};

struct name {
    char text[NAME_MAX_ + 1];
};

static bool take(struct cursor *cursor, void *bytes, size_t count)
{
    if (cursor->left < count)
        return false;
    memcpy(bytes, cursor->at, count);
    cursor->at += count;
    cursor->left -= count;
    return true;
}

static bool take_u32(struct cursor *cursor, uint32_t *value)
{
    return take(cursor, value, sizeof *value);
}

static bool take_name(struct cursor *cursor, struct name *name)
{
    uint8_t length;

    memset(name, 0, sizeof *name);
    return take(cursor, &length, 1) && take(cursor, name->text, length);
}

/* A length and that many bytes, as a cursor of their own. */
static bool take_part(struct cursor *cursor, struct cursor *part)
{
    uint32_t length;

    if (!take_u32(cursor, &length) || cursor->left < length)
        return false;
    *part = (struct cursor){cursor->at, length};
    cursor->at += length;
    cursor->left -= length;
    return true;
}

/* -- Loading: once to check, once more to store -- */

struct loading {
    const char *type, *id;
    uint32_t version; /* of the record */
    bool store;
    struct error *error;
};

static bool damaged(const struct loading *loading, const struct path *path)
{
    return error_set(loading->error, "the saved state of %s \"%s\" is damaged%s%s", loading->type,
                     loading->id, path->text[0] ? " near field " : "", path->text);
}

static bool load_fields(const struct loading *loading, struct cursor *cursor,
                        const struct field *fields, uint8_t *object, const struct path *path);

static bool load_plain(const struct loading *loading, const struct cursor *data,
                       const struct field *field, uint8_t *object, const struct path *path)
{
    if (data->left != (size_t)field->size * field->count)
        return damaged(loading, path);
    for (size_t i = 0; field->is_bool && i < data->left; i++) {
        if (data->at[i] > 1)
            return error_set(loading->error, "the saved state of %s \"%s\": %s is neither 0 nor 1",
                             loading->type, loading->id, path->text);
    }
    if (loading->store)
        memcpy(object + field->offset, data->at, data->left);
    return true;
}

static bool load_nested(const struct loading *loading, struct cursor *data,
                        const struct field *field, uint8_t *object, const struct path *parent)
{
    for (uint32_t i = 0; i < field->count; i++) {
        struct path path = path_of(parent, field, i);
        struct cursor element;
        if (!take_part(data, &element))
            return damaged(loading, &path);
        if (!load_fields(loading, &element, field->nested,
                         object + field->offset + (size_t)i * field->size, &path))
            return false;
    }
    return data->left == 0 || damaged(loading, parent);
}

static const struct field *find_field(const struct field *fields, const char *name)
{
    for (const struct field *field = fields; field->name; field++) {
        if (strcmp(field->name, name) == 0)
            return field;
    }
    return NULL;
}

static bool load_field(const struct loading *loading, struct cursor *cursor,
                       const struct field *fields, uint8_t *object, const struct path *parent,
                       bool seen[FIELDS_MAX])
{
    struct name name;
    uint32_t size, count;
    uint8_t nested;
    struct cursor data;

    if (!take_name(cursor, &name) || !take_u32(cursor, &size) || !take_u32(cursor, &count) ||
        !take(cursor, &nested, 1) || !take_part(cursor, &data))
        return damaged(loading, parent);

    const struct field *field = find_field(fields, name.text);
    if (!field)
        return error_set(loading->error,
                         "the saved state of %s \"%s\" has a field \"%.60s\" that this version of "
                         "doppel does not know",
                         loading->type, loading->id, name.text);
    struct path path = path_of(parent, field, 0);
    if (seen[field - fields])
        return damaged(loading, &path);
    seen[field - fields] = true;
    /* The size of a struct is the compiler's matter: only its own fields count. */
    bool fits = nested == (field->nested != NULL) && count == field->count &&
                (nested || size == field->size);
    if (!fits)
        return error_set(loading->error,
                         "the saved state of %s \"%s\": %s has %" PRIu32 " elements of %" PRIu32
                         " bytes, expected are %" PRIu32 " of %" PRIu32,
                         loading->type, loading->id, path.text, count, size, field->count,
                         field->size);
    return nested ? load_nested(loading, &data, field, object, parent)
                  : load_plain(loading, &data, field, object, &path);
}

static bool load_fields(const struct loading *loading, struct cursor *cursor,
                        const struct field *fields, uint8_t *object, const struct path *path)
{
    bool seen[FIELDS_MAX] = {false};

    while (cursor->left > 0) {
        if (!load_field(loading, cursor, fields, object, path, seen))
            return false;
    }
    for (const struct field *field = fields; field->name; field++) {
        assert(field - fields < FIELDS_MAX);
        if (!seen[field - fields] && field->since <= loading->version)
            return error_set(loading->error, "the saved state of %s \"%s\" lacks the field %s",
                             loading->type, loading->id, path_of(path, field, 0).text);
    }
    return true;
}

/* What a record is loaded into. */
struct target {
    const char *type, *id;
    uint32_t version;
    const struct field *fields;
    void *object;
};

static bool load_record(const struct target *target, uint32_t version, struct cursor body,
                        bool store, struct error *error)
{
    struct loading loading = {target->type, target->id, version, store, error};
    struct path root = {""};

    if (version > target->version)
        return error_set(error,
                         "the saved state of %s \"%s\" has version %" PRIu32
                         ", this doppel knows versions up to %" PRIu32
                         ": load it with the doppel that saved it or a newer one",
                         target->type, target->id, version, target->version);
    return load_fields(&loading, &body, target->fields, target->object, &root);
}

/* Each target must be met by exactly one record and the other way round. */
static bool load_file(struct cursor cursor, const struct target *targets, size_t target_count,
                      bool store, struct error *error)
{
    char magic[MAGIC_SIZE];
    uint32_t format, records;

    if (!take(&cursor, magic, sizeof magic) || memcmp(magic, MAGIC, MAGIC_SIZE) != 0)
        return error_set(error, "this is not a saved state of doppel");
    if (!take_u32(&cursor, &format) || format != FORMAT)
        return error_set(error, "the saved state has another format than this doppel reads");
    if (!take_u32(&cursor, &records))
        return error_set(error, "the saved state is cut short");

    bool *met = alloc_zeroed(target_count * sizeof *met);
    bool ok = true;
    for (uint32_t i = 0; ok && i < records; i++) {
        struct name type, id;
        uint32_t version;
        struct cursor body;
        if (!take_name(&cursor, &type) || !take_name(&cursor, &id) ||
            !take_u32(&cursor, &version) || !take_part(&cursor, &body)) {
            ok = error_set(error, "the saved state is cut short");
            break;
        }
        size_t t = 0;
        while (t < target_count &&
               (strcmp(targets[t].type, type.text) != 0 || strcmp(targets[t].id, id.text) != 0))
            t++;
        if (t == target_count)
            ok = error_set(error, "the saved state has a %.60s \"%.60s\", this machine has none",
                           type.text, id.text);
        else if (met[t])
            ok = error_set(error, "the saved state has %s \"%s\" twice", targets[t].type,
                           targets[t].id);
        else
            ok = load_record(&targets[t], version, body, store, error);
        if (t < target_count)
            met[t] = true;
    }
    for (size_t t = 0; ok && t < target_count; t++) {
        if (!met[t])
            ok = error_set(error, "the saved state lacks %s \"%s\" of this machine",
                           targets[t].type, targets[t].id);
    }
    if (ok && cursor.left > 0)
        ok = error_set(error, "the saved state has bytes after its end");
    free(met);
    return ok;
}

static bool load_targets(const uint8_t *bytes, size_t length, const struct target *targets,
                         size_t count, struct error *error)
{
    struct cursor cursor = {bytes, length};

    return load_file(cursor, targets, count, false, error) &&
           load_file(cursor, targets, count, true, error);
}

bool state_load_struct(const uint8_t *bytes, size_t length, const char *type, const char *id,
                       uint32_t version, const struct field *fields, void *object,
                       struct error *error)
{
    struct target target = {type, id, version, fields, object};

    return load_targets(bytes, length, &target, 1, error);
}

bool state_load_devices(const uint8_t *bytes, size_t length, struct device_list *list,
                        struct error *error)
{
    size_t count = 0;

    for (struct device *device = list->first; device; device = device->next)
        count++;
    struct target *targets = alloc_zeroed(count * sizeof *targets);
    count = 0;
    for (struct device *device = list->first; device; device = device->next)
        targets[count++] = (struct target){device->ops->name, device->id, device->ops->version,
                                           device->ops->fields, device};
    bool ok = load_targets(bytes, length, targets, count, error);
    free(targets);

    for (struct device *device = list->first; ok && device; device = device->next) {
        if (device->ops->post_load)
            ok = device->ops->post_load(device, error);
    }
    return ok;
}

/* -- Comparing -- */

static uint64_t scalar(const uint8_t *bytes, uint32_t size)
{
    uint64_t value = 0;

    memcpy(&value, bytes, size < 8 ? size : 8);
    return value;
}

static bool compare_fields(const struct field *fields, const void *left, const void *right,
                           const struct path *parent, struct error *difference)
{
    for (const struct field *field = fields; field->name; field++) {
        for (uint32_t i = 0; i < field->count; i++) {
            const uint8_t *a = element_of(field, left, i), *b = element_of(field, right, i);
            if (field->nested) {
                struct path path = path_of(parent, field, i);
                if (!compare_fields(field->nested, a, b, &path, difference))
                    return false;
            } else if (memcmp(a, b, field->size) != 0) {
                return error_set(difference, "%s: 0x%" PRIx64 " != 0x%" PRIx64,
                                 path_of(parent, field, i).text, scalar(a, field->size),
                                 scalar(b, field->size));
            }
        }
    }
    return true;
}

bool state_compare(const struct field *fields, const void *left, const void *right,
                   struct error *difference)
{
    struct path root = {""};

    return compare_fields(fields, left, right, &root, difference);
}

bool state_compare_devices(const struct device_list *left, const struct device_list *right,
                           struct error *difference)
{
    const struct device *a = left->first, *b = right->first;

    for (; a && b; a = a->next, b = b->next) {
        struct path root;
        if (strcmp(a->ops->name, b->ops->name) != 0 || strcmp(a->id, b->id) != 0)
            return error_set(difference, "%s \"%s\" stands where the other has %s \"%s\"",
                             a->ops->name, a->id, b->ops->name, b->id);
        snprintf(root.text, sizeof root.text, "%s", a->id);
        if (!compare_fields(a->ops->fields, a, b, &root, difference))
            return false;
    }
    if (a || b)
        return error_set(difference, "only one of both has \"%s\"", a ? a->id : b->id);
    return true;
}

/* -- Printing -- */

#define DUMP_ELEMENTS_MAX 32

static void dump_fields(FILE *out, const struct field *fields, const void *object,
                        const struct path *parent)
{
    for (const struct field *field = fields; field->name; field++) {
        if (field->nested) {
            for (uint32_t i = 0; i < field->count; i++) {
                struct path path = path_of(parent, field, i);
                dump_fields(out, field->nested, element_of(field, object, i), &path);
            }
            continue;
        }
        fprintf(out, "%s%s%s =", parent->text, parent->text[0] ? "." : "", field->name);
        for (uint32_t i = 0; i < field->count && i < DUMP_ELEMENTS_MAX; i++)
            fprintf(out, " %0*" PRIx64, field->size <= 8 ? (int)field->size * 2 : 16,
                    scalar(element_of(field, object, i), field->size));
        if (field->count > DUMP_ELEMENTS_MAX)
            fprintf(out, " ... (%" PRIu32 " in all)", field->count);
        fputc('\n', out);
    }
}

void state_dump(FILE *out, const struct field *fields, const void *object)
{
    struct path root = {""};

    dump_fields(out, fields, object, &root);
}
