/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Speed of flows: 5 labels, 8,000 rows (a fifth of them for validation) of 128 context numbers, 10 members of published
 * shapes, 25 epochs; then 1,000 draws of 2,000 objects, their summaries, and densities of the draws of 100 objects.
 *
 *   speed_flow [THREADS [KIND: 0 elementwise, 1 autoregressive, 2 coupling [MEMBERS]]]
 *
 * speed_flow.py is the same training in PyTorch.
 */
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "syzygy/flow.h"
#include "syzygy/numbers.h"

enum { ROWS = 8000, VALID = 1600, WIDTH = 128, D = 5, OBJECTS = 2000, DRAWS = 1000 };

/* Seconds of this process's processors: other programs on the machine count less in them than on the clock. */
static double cpu_s(void) { return (double)clock() / CLOCKS_PER_SEC; }

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  float *context = syz_alloc("context", ROWS * WIDTH, 4);
  double *y = syz_alloc("labels", ROWS * D, 8), *draws = syz_alloc("draws", (size_t)OBJECTS * DRAWS * D, 8);
  double *log_q = syz_alloc("log q", 100 * DRAWS, 8);
  int64_t *id = syz_alloc("ids", OBJECTS, 8);
  syz_flow_summary *summary = syz_alloc("summaries", OBJECTS * D, sizeof *summary);
  for (int i = 0; i < ROWS; i++) {
    const syz_random r = syz_random_make(1, SYZ_RANDOM_BENCH, 0, (uint64_t)i);
    syz_random_fill_normal(&r, context + i * WIDTH, WIDTH);
    for (uint32_t d = 0; d < D; d++)
      y[i * D + (int)d] =
          (double)context[i * WIDTH + (int)d] + (d ? y[i * D + (int)d - 1] : 0) + syz_random_normal(&r, 1000 + d);
    id[i % OBJECTS] = i % OBJECTS;
  }
  syz_flow_options o = syz_flow_options_astroclip(D, WIDTH);
  syz_flow_label label[D] = {{.name = "a"}, {.name = "b"}, {.name = "c"}, {.name = "d"}, {.name = "e"}};
  syz_flow *f = NULL;
  syz_flow_training *t = NULL;
  syz_flow_training_options training = syz_flow_training_astroclip();
  bool is_done;
  o.threads = argc > 1 ? atoi(argv[1]) : 1;
  o.shape.kind = (syz_flow_kind)(argc > 2 ? atoi(argv[2]) : 1);
  o.members = argc > 3 ? atoi(argv[3]) : 10;
  o.shape.keeps_order = o.shape.kind == SYZ_FLOW_ELEMENTWISE;
  o.label = label;
  training.stop = SYZ_FLOW_ALL_EPOCHS;
  CHECK_OK(syz_flow_labels_fit(label, D, ROWS, y, 1, NULL, NULL));
  CHECK_OK(syz_flow_create(&o, &f));
  const int64_t n = ROWS - VALID;
  const syz_flow_rows train = {n, context, y}, valid = {VALID, context + n * WIDTH, y + n * D};
  CHECK_OK(syz_flow_training_create(world, f, &training, &train, &valid, &t));
  const double start = syz_clock_s(), cpu = cpu_s();
  CHECK_OK(syz_flow_train(t, 1000, &is_done));
  const double trained = syz_clock_s(), cpu_trained = cpu_s();
  CHECK_OK(syz_flow_draw(f, 1, OBJECTS, context, id, DRAWS, draws, NULL));
  const double drawn = syz_clock_s(), cpu_drawn = cpu_s();
  CHECK_OK(syz_flow_summarise(f, OBJECTS, DRAWS, draws, summary));
  const double summarised = syz_clock_s(), cpu_summarised = cpu_s();
  CHECK_OK(syz_flow_draw(f, 1, 100, context, id, DRAWS, draws, log_q));
  const double dense = syz_clock_s();
  if (syz_comm_rank(world) == 0)
    printf(
        "%s, %d members, %d ranks x %d threads: training %.2f s (processors %.2f s), loss %.4f; %d draws of %d objects "
        "%.2f s (%.2f s), summaries %.2f s (%.2f s); draws with densities of 100 objects %.2f s (%.2f s)\n",
        syz_flow_kind_name(o.shape.kind), o.members, syz_comm_size(world), o.threads, trained - start,
        cpu_trained - cpu, syz_flow_progress_of(t, 0).best_loss, DRAWS, OBJECTS, drawn - trained,
        cpu_drawn - cpu_trained, summarised - drawn, cpu_summarised - cpu_drawn, dense - summarised,
        cpu_s() - cpu_summarised);
  syz_flow_training_destroy(&t);
  syz_flow_destroy(&f);
  syz_free(&context);
  syz_free(&y);
  syz_free(&draws);
  syz_free(&log_q);
  syz_free(&id);
  syz_free(&summary);
  const int result = CHECK_RESULT();
  syz_comm_finish(&world);
  return result;
}
