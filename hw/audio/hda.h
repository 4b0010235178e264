/*
 * Intel High Definition Audio: the controller of the ICH6 or ICH9 with one codec.
 */
#ifndef DOPPEL_HW_AUDIO_HDA_H
#define DOPPEL_HW_AUDIO_HDA_H

#include "hw/audio/mixer.h"
#include "hw/pci.h"

struct hda;

enum hda_model { HDA_ICH6, HDA_ICH9 };

struct hda *hda_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                    enum hda_model model, struct clock *clock, struct mixer *mixer, const char *id);

#endif
