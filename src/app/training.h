/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The commands that train. Each is a row of functions and values of its own (syz_training_method); training_run.c calls
 * them in a fixed order. The rows may call training.c (defaults that depend on other keys, data sets, the input's
 * values that a checkpoint records, the configuration in a model file) and training_plan.c (which prints the plan);
 * shared keys are in training_keys.c.
 */
#pragma once

#include "app.h"
#include "syzygy/objectives.h"

/** Keys that several of these commands share: train.*, augment.*, output.checkpoint_*. */
extern const syz_key syz_training_keys[];

enum { SYZ_FACTS_MAX = 128 };

/** A command's own default of a shared key. */
typedef struct syz_preset {
  const char *path, *value;
} syz_preset;

typedef struct syz_training_method syz_training_method;

/** The state of a command while it trains. */
typedef struct syz_training {
  syz_app *app;
  const syz_input *in; /**< app->input */
  const syz_training_method *method;
  void *own; /**< the method's state: its options, and what else it holds */
  syz_model_config config;
  syz_compute *compute;
  syz_grid grid;
  syz_nodes *nodes; /**< of grid.data: which ranks share weights */
  syz_model *model; /**< the model that is trained */
  uint64_t content; /**< digest of data files without checksums (syz_shardset_content); 0: all have them, or data.verify
                       is false */
  syz_shardset *train, *test; /**< test: NULL when nothing is held out */
  syz_split split;            /**< of `train` */
  bool freezes_backbones;     /**< only the heads train */
  syz_train_config loop;
  syz_fact fact[SYZ_FACTS_MAX];
} syz_training;

/**
 * How a command trains: everything specific to it, except its keys (syz_<command>_keys) and its row in
 * SYZ_TRAINING_COMMANDS. The functions are called in this order; they are collective and agreed unless their comments
 * say otherwise. A function that is NULL is skipped.
 */
struct syz_training_method {
  const syz_preset *presets; /**< its own defaults of shared keys, ended by a path NULL; NULL: none */
  syz_bad_objects skips;     /**< which objects data.bad_objects: skip leaves out */
  double lr_divisor;         /**< for syz_training_settle */
  bool decay_is_constant;    /**< for syz_training_settle */
  size_t state_bytes;        /**< size of `own`, which starts as zeros */
  /** Fill in the method's own defaults that depend on other keys, then its options. SYZ_ERR_INPUT for keys that
   * contradict each other. Not collective; the same on every rank. */
  syz_status (*read)(syz_training *t);
  /** Apply the configuration in the model files that the input names, by syz_training_take_config. */
  syz_status (*take_config)(syz_training *t);
  /** SYZ_ERR_INPUT when options and t->config contradict each other. Not collective; the same on every rank. May be
   * NULL. */
  syz_status (*check)(const syz_training *t);
  /** SYZ_ERR_INPUT when t->train lacks what the options need. Not collective; the same on every rank. May be NULL. */
  syz_status (*check_data)(const syz_training *t);
  /** Make t->grid. NULL: every rank holds all towers. */
  syz_status (*make_grid)(syz_training *t);
  /** Make t->model, with weights from the seed or from files. */
  syz_status (*make_model)(syz_training *t);
  /** Name the method's own keys that a checkpoint records, by syz_training_remember. Not collective. */
  void (*remember)(syz_training *t);
  /** Further checks that may refuse a run, before its plan is printed or written. Not collective; the same on every
   * rank. May be NULL.
   */
  syz_status (*check_run)(const syz_training *t);
  /** As in syz_planner; its context is the syz_training. Not collective. */
  syz_status (*plan)(void *training, int64_t global_batch, int ranks, syz_plan *out);
  /** Make the objective. The run folder exists by then. */
  syz_status (*create)(syz_training *t, syz_objective *out);
  /** Free the contents of `own`, even when incomplete; called after the objective is freed, before the rest.
   * Collective. May be NULL. */
  void (*destroy)(syz_training *t);
};

#define SYZ_TRAINING_DECLARE(name, does, summary, with) extern const syz_training_method syz_##name##_method;
SYZ_TRAINING_COMMANDS(SYZ_TRAINING_DECLARE, )
#undef SYZ_TRAINING_DECLARE

/** NULL for a command that does not train. */
const syz_training_method *syz_training_method_of(syz_command_id command);

/**
 * Adapt keys that are not given, whose defaults suit long runs, to those that are: train.warmup_steps is at most a
 * tenth of train.steps; train.lr_min = train.lr / lr_divisor (0: unchanged); train.weight_decay_end =
 * train.weight_decay when `decay_is_constant`. Not collective; the same on every rank.
 */
syz_status syz_training_settle(syz_training *t, double lr_divisor, bool decay_is_constant);
/** Set a key that was not given to this value. Not collective. */
syz_status syz_training_settle_real(syz_input *in, const char *key, double value);
/** Limit a number of steps that was not given to `most`. Not collective. */
syz_status syz_training_settle_steps(syz_input *in, const char *key, int64_t most);
/** Leaves of the global batch for reproducible sums; 0: none. */
int64_t syz_training_leaves(const syz_input *in);
/** Refuse contradictions among the shared keys; warn of a run that ends within its warm-up. Not collective. */
syz_status syz_training_check_keys(const syz_training *t);

/** Replace the input's keys that begin with `section` ("model.", "model.image.") by a file's configuration. Keys given
 * in the input must agree (SYZ_ERR_INPUT), except those that do not change a parameter's shape. Not collective; the
 * same on every rank. */
syz_status syz_training_take_config(syz_training *t, const char *path, const syz_model_config *config,
                                    const char *section);
/** Open the set to train on (data.path, data.split) and verify it; with wants_test also the held-out objects, if the
 * split leaves any. Collective; agreed. */
syz_status syz_training_open_data(syz_training *t, bool wants_test);

/** Make the tensor groups of parallel.tensor; a dry run for other ranks makes none. After the grid. Collective; agreed.
 */
syz_status syz_training_split_tensor(syz_training *t);
/** Set which ranks compute the model's blocks; in such a dry run, for how many ranks they are planned. Call it on a
 * model just created. Collective; agreed. */
syz_status syz_training_share_blocks(const syz_training *t, syz_model *model);
/** Keep the weights of a model just created once per node. After the grid; collective; agreed. */
syz_status syz_training_share_weights(syz_training *t, syz_model *model);
/** Initialise weights from the seed. A dry run allocates none, unless a file is to be read into them.
 * Collective over the ranks that share the weights. */
void syz_training_initialise(const syz_training *t, syz_model *model, bool is_read);
/** Fill `loop` from the shared keys. */
void syz_training_read_loop(syz_training *t);
/** A value of the input that a checkpoint records. When a run is continued, a change of a fixed value is refused, of
 * others warned of. */
typedef struct syz_remembered {
  const char *key;
  syz_key_type type;
  bool is_fixed;
} syz_remembered;
/** Record the model's keys that the command uses, the data set, the shared keys. After read_loop and open_data. */
void syz_training_add_facts(syz_training *t);
/** Record these keys [n] too. */
void syz_training_remember(syz_training *t, const syz_remembered *key, int n);

/** Plans a run of this global batch on a number of ranks that hold this rank's tower(s). Not collective. */
typedef struct syz_planner {
  void *context;
  syz_status (*plan)(void *context, int64_t global_batch, int ranks, syz_plan *out);
} syz_planner;
/**
 * Print engine, parameters, epochs and planned memory at the start of a run. A dry run shows the plan item by item, for
 * plan.ranks ranks, and the largest global batch that fits, and writes plan.json. `out`: the plan of this run.
 * Collective; agreed. SYZ_ERR_MEMORY when the layers can't be made.
 */
syz_status syz_training_tell(const syz_training *t, const syz_planner *planner, syz_plan *out);
/** Print, against the plan, the largest resident memory of any rank and the total of the fullest node's ranks.
 * Collective; agreed. */
syz_status syz_training_tell_peak(const syz_training *t, const syz_plan *planned);
