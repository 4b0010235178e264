/*
 * AC'97 audio controller of the ICH with its codec.
 */
#ifndef DOPPEL_HW_AUDIO_AC97_H
#define DOPPEL_HW_AUDIO_AC97_H

#include "hw/audio/mixer.h"
#include "hw/pci.h"

struct ac97;

struct ac97 *ac97_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                      struct mixer *mixer, const char *id);

#endif
