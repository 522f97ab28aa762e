/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The one table of keys: those that several commands share, those of each command and those of the model, with the
 * defaults of the current command.
 */
#include <string.h>

#include "analyse.h"
#include "features_keys.h"
#include "keys.h"
#include "probe.h"
#include "syzygy/model.h"
#include "training.h"

enum { KEYS_MAX = 512 };

static void add_table(syz_key *all, int *n, const syz_key *table)
{
  for (; table->path; table++) {
    SYZ_ASSERT(*n + 1 < KEYS_MAX);
    all[(*n)++] = *table;
  }
}

/* Give shared keys the command's own defaults. */
static void set_presets(syz_key *all, int n, syz_command_id command)
{
  for (const syz_preset *p = syz_training_method_of(command)->presets; p && p->path; p++) {
    int i = 0;
    while (i < n && strcmp(all[i].path, p->path) != 0) i++;
    SYZ_ASSERT(i < n && (all[i].commands & (1u << command)));
    all[i].preset = p->value;
  }
}

syz_status syz_app_make_input(syz_command_id command, syz_input **out)
{
  static syz_key all[KEYS_MAX]; /* static because an input borrows its keys for ever; one input per process */
  const syz_key *const table[1] = {all};
  int n = 0;
  memset(all, 0, sizeof all);
  add_table(all, &n, syz_shared_keys);
  const int first = n;
  add_table(all, &n, syz_model_keys);
  for (int i = first; i < n; i++) all[i].commands = syz_app_model_key_users(all[i].path);
  add_table(all, &n, syz_training_keys);
  add_table(all, &n, syz_validate_keys);
  add_table(all, &n, syz_io_keys);
#define ADD_TABLE(name, does, summary, with) add_table(all, &n, syz_##name##_keys);
  SYZ_COMMANDS(ADD_TABLE, )
#undef ADD_TABLE
#define ADD_PROBE(name, task, about) add_table(all, &n, syz_probe_##name.keys);
  SYZ_PROBES(ADD_PROBE)
#undef ADD_PROBE
#define ADD_ANALYSIS(name, text, about) add_table(all, &n, syz_analysis_##name.keys);
  SYZ_ANALYSES(ADD_ANALYSIS)
#undef ADD_ANALYSIS
  if (SYZ_COMMAND_DOES(command, SYZ_DOES_TRAIN)) set_presets(all, n, command);
  return syz_input_create(table, 1, out);
}
