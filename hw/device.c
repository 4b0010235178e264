/*
 * The list of a board's devices.
 */
#include "hw/device.h"

#include <assert.h>
#include <string.h>

void device_list_init(struct device_list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

void device_add(struct device_list *list, struct device *device, const struct device_ops *ops,
                const char *id)
{
    assert(ops->name && ops->fields && "every device has a name and a state table");
    assert(strlen(id) < sizeof device->id);
    for (struct device *other = list->first; other; other = other->next)
        assert(strcmp(other->id, id) != 0 && "device ids are unique on a board");

    device->ops = ops;
    strcpy(device->id, id);
    device->next = NULL;
    *list->last = device;
    list->last = &device->next;
}

void device_list_reset(struct device_list *list)
{
    for (struct device *device = list->first; device; device = device->next) {
        if (device->ops->reset)
            device->ops->reset(device);
    }
}

void device_list_destroy(struct device_list *list)
{
    struct device *reversed = NULL;

    for (struct device *device = list->first, *next; device; device = next) {
        next = device->next;
        device->next = reversed;
        reversed = device;
    }
    device_list_init(list);
    for (struct device *device = reversed, *next; device; device = next) {
        next = device->next;
        if (device->ops->destroy)
            device->ops->destroy(device);
    }
}
