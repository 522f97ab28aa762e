/* SPDX-License-Identifier: BSD-3-Clause */
/** The dense probe: linear heads on the frozen patch features of an image backbone, compared with the simulator's truth
 * and with an untrained network. */
#include <stdio.h>

#include "dense.h"

struct syz_dense_probe {
  const syz_run *run;
  const syz_dense_options *options;
  syz_frozen net;
  syz_shardset *train, *test;
  syz_dense_result result[2]; /* with the requested weights, with initial ones */
};

static syz_status open_all(syz_dense_probe *p, const syz_frozen_options *net)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_frozen_data(p->run, net, "for probe", SYZ_SPLIT_TRAIN, true, &p->train));
  SYZ_TRY(syz_frozen_data(p->run, net, "for probe", SYZ_SPLIT_TEST, false, &p->test)); /* from the same files */
  SYZ_TRY(syz_frozen_open(p->run, net, &p->net));
cleanup:
  return st;
}

syz_status syz_dense_probe_open(const syz_run *run, const syz_frozen_options *net, const syz_dense_options *options,
                                syz_dense_probe **out)
{
  syz_status st = SYZ_OK;
  *out = NULL;
  syz_dense_probe *p = syz_alloc("probe", 1, sizeof *p);
  SYZ_TRY_ALL(run->world, p ? SYZ_OK : SYZ_ERR_MEMORY);
  p->run = run;
  p->options = options;
  syz_timing_begin(run->timing, "open");
  st = open_all(p, net);
  syz_timing_end(run->timing);
  SYZ_TRY(st);
  *out = p;
  p = NULL;
cleanup:
  syz_dense_probe_close(&p);
  return st;
}

void syz_dense_probe_close(syz_dense_probe **pp)
{
  syz_dense_probe *p = *pp;
  if (!p) return;
  for (int i = 0; i < 2; i++) syz_dense_free(&p->result[i]);
  syz_frozen_close(&p->net);
  syz_shardset_close(&p->train);
  syz_shardset_close(&p->test);
  syz_free(pp);
}

static void compare(const syz_dense_result *trained, const syz_dense_result *untrained)
{
  syz_info("%-24s %10s %10s", "", "trained", "untrained");
  syz_info("%-24s %10.4f %10.4f", "mean IoU, patches", trained->patch.mean_iou, untrained->patch.mean_iou);
  syz_info("%-24s %10.4f %10.4f", "mean IoU, pixels", trained->pixel.mean_iou, untrained->pixel.mean_iou);
  for (int t = 0; t < trained->targets; t++) {
    char name[48];
    snprintf(name, sizeof name, "R2 %s", syz_truth_name[t]);
    syz_info("%-24s %10.4f %10.4f", name, trained->r2[t], untrained->r2[t]);
  }
}

syz_status syz_dense_probe_write(syz_dense_probe *p)
{
  syz_status st = SYZ_OK;
  const bool is_untrained = p->net.options->is_untrained, compares = !is_untrained && p->options->compares_untrained;
  SYZ_TRY(syz_dense_run(p->run, &p->net, p->train, p->test, p->options, is_untrained ? "untrained" : "trained",
                        &p->result[0]));
  if (compares) {
    syz_frozen_forget(&p->net);
    SYZ_TRY(syz_dense_run(p->run, &p->net, p->train, p->test, p->options, "untrained", &p->result[1]));
    compare(&p->result[0], &p->result[1]);
  }
  SYZ_TRY(syz_dense_write(p->run, &p->net, p->test, p->options->pictures, compares ? 2 : 1, p->result));
  syz_info("wrote %s/probe.json, dense.h5 and pictures", p->run->folder);
cleanup:
  return st;
}
