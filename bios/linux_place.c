#include "bios/linux_place.h"
#include "bios/linux_payload.h"
#include "hw/alloc.h"

#include <endian.h>
#include <string.h>
#include <sys/random.h>

struct place_answer {
    uint32_t address, bias, delta; /* little-endian */
};

struct place_item {
    struct linux_room room;
    uint32_t preferred;
    bool fixed, answered;
    struct place_answer answer;
};

static uint64_t round_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) / alignment * alignment;
}

/* How many aligned places of `size` a range has. */
static uint64_t count_places(struct place_range range, uint64_t size, uint64_t alignment)
{
    uint64_t start = round_up(range.start, alignment);

    return range.end < start || range.end - start < size
               ? 0
               : (range.end - start - size) / alignment + 1;
}

bool place_choose(const struct linux_room *room, const uint64_t random[2],
                  struct linux_place *place)
{
    const struct place_range mapping = {room->preferred, PAYLOAD_MAPPING};
    const struct place_range below = {room->memory.start, room->taken.start};
    const struct place_range above = {room->taken.end, room->memory.end};
    uint64_t distances = count_places(mapping, room->mapped_size, room->alignment);
    uint64_t first = count_places(below, room->size, room->alignment);
    uint64_t places = first + count_places(above, room->size, room->alignment);

    if (!places || !distances)
        return false;
    uint64_t index = random[0] % places;
    place->address =
        (uint32_t)(index < first ? round_up(below.start, room->alignment) + index * room->alignment
                                 : round_up(above.start, room->alignment) +
                                       (index - first) * room->alignment);
    place->delta = (uint32_t)(random[1] % distances * room->alignment);
    return true;
}

static bool answer(struct place_item *item)
{
    struct linux_place place = {.address = item->preferred};
    uint64_t random[2];

    if (!item->fixed && (getrandom(random, sizeof random, 0) != sizeof random ||
                         !place_choose(&item->room, random, &place)))
        return false;
    item->answer = (struct place_answer){
        .address = htole32(place.address),
        .bias = htole32(place.address - item->room.link_base),
        .delta = htole32(place.delta),
    };
    return true;
}

static bool place_read(void *opaque, uint32_t offset, uint8_t *bytes, size_t count)
{
    struct place_item *item = opaque;

    if ((offset == 0 || !item->answered) && !answer(item))
        return false;
    item->answered = true;
    memcpy(bytes, (const uint8_t *)&item->answer + offset, count);
    return true;
}

void place_add(struct fw_cfg *fw_cfg, uint16_t key, uint32_t preferred,
               const struct linux_room *room)
{
    static const struct fw_cfg_maker maker = {.read = place_read, .destroy = free};
    struct place_item *item = alloc_zeroed(sizeof *item);

    item->preferred = preferred;
    item->fixed = !room;
    if (room)
        item->room = *room;
    fw_cfg_add_made(fw_cfg, key, sizeof item->answer, &maker, item);
}
