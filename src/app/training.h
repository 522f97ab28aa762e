/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The commands that train. Each is a row, syz_training_method, of what is its own; training_run.c runs the rows and
 * says in which order. What the rows may call is in training.c (defaults that follow other keys, data sets, what a
 * checkpoint remembers of the input, the configuration that a model file brings) and training_plan.c (the plan that is
 * told); shared keys are in training_keys.c.
 */
#pragma once

#include "app.h"
#include "syzygy/objectives.h"

/** Keys that more than one of these commands have: train.*, augment.*, output.checkpoint_*. */
extern const syz_key syz_training_keys[];

enum { SYZ_FACTS_MAX = 128 };

/** Another default of a shared key. */
typedef struct syz_preset {
  const char *path, *value;
} syz_preset;

typedef struct syz_training_method syz_training_method;

/** All that a command holds while it trains. */
typedef struct syz_training {
  syz_app *app;
  const syz_input *in; /**< app->input */
  const syz_training_method *method;
  void *own; /**< the method's state: its options, and what else it holds */
  syz_model_config config;
  syz_compute *compute;
  syz_grid grid;
  syz_nodes *nodes; /**< of grid.data: who shares weights */
  syz_model *model; /**< the one that trains */
  uint64_t content; /**< of data files that have no checksums (syz_shardset_content); 0: all have, or data.verify does
                       not ask for it */
  syz_shardset *train, *test; /**< test: NULL when nothing is held out */
  syz_split split;            /**< of `train` */
  bool freezes_backbones;     /**< only the heads train */
  syz_train_config loop;
  syz_fact fact[SYZ_FACTS_MAX];
} syz_training;

/**
 * How a command trains: all that is its own beside its keys (syz_<command>_keys) and its row in SYZ_TRAINING_COMMANDS.
 * The functions are called in this order; they are collective and agreed unless they say otherwise. What may be NULL is
 * left out then.
 */
struct syz_training_method {
  const syz_preset *presets; /**< its own defaults of shared keys, ended by a path NULL; NULL: none */
  syz_bad_objects skips;     /**< what data.bad_objects: skip leaves out */
  double lr_divisor;         /**< for syz_training_settle */
  bool decay_is_constant;    /**< for syz_training_settle */
  size_t state_bytes;        /**< of `own`, which begins as zeros */
  /** The method's own defaults that follow other keys, then its options. SYZ_ERR_INPUT for keys that contradict each
   * other. Not collective; the same on every rank. */
  syz_status (*read)(syz_training *t);
  /** What the model files that the input names say of the configuration, by syz_training_take_config. */
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
  /** What a checkpoint remembers of its own keys, by syz_training_remember. Not collective. */
  void (*remember)(syz_training *t);
  /** What else refuses a run, before its plan is told or written. Not collective; the same on every rank. May be NULL.
   */
  syz_status (*check_run)(const syz_training *t);
  /** As in syz_planner; its context is the syz_training. Not collective. */
  syz_status (*plan)(void *training, int64_t global_batch, int ranks, syz_plan *out);
  /** Make the objective. The run folder is there. */
  syz_status (*create)(syz_training *t, syz_objective *out);
  /** Free what `own` holds, also when not all of it was made; after the objective, before the rest. Collective. May be
   * NULL. */
  void (*destroy)(syz_training *t);
};

#define SYZ_TRAINING_DECLARE(name, does, summary, with) extern const syz_training_method syz_##name##_method;
SYZ_TRAINING_COMMANDS(SYZ_TRAINING_DECLARE, )
#undef SYZ_TRAINING_DECLARE

/** NULL for a command that does not train. */
const syz_training_method *syz_training_method_of(syz_command_id command);

/**
 * Keys that were left at defaults made for long runs follow the keys that were given: train.warmup_steps at most a
 * tenth of train.steps; train.lr_min = train.lr / lr_divisor (0: stays); train.weight_decay_end = train.weight_decay
 * when `decay_is_constant`. Not collective; the same on every rank.
 */
syz_status syz_training_settle(syz_training *t, double lr_divisor, bool decay_is_constant);
/** A key that was not given gets this value. Not collective. */
syz_status syz_training_settle_real(syz_input *in, const char *key, double value);
/** A number of steps made for a long run is at most `most`, unless it is given. Not collective. */
syz_status syz_training_settle_steps(syz_input *in, const char *key, int64_t most);
/** Leaves of the global batch for reproducible sums; 0: none. */
int64_t syz_training_leaves(const syz_input *in);
/** Contradictions among the shared keys; warns of a run that ends within its warm-up. Not collective. */
syz_status syz_training_check_keys(const syz_training *t);

/** A file's configuration takes the place of the input's keys that begin with `section` ("model.", "model.image.").
 * What the input says itself must agree (SYZ_ERR_INPUT), except for what does not change a parameter's shape. Not
 * collective; the same on every rank. */
syz_status syz_training_take_config(syz_training *t, const char *path, const syz_model_config *config,
                                    const char *section);
/** data.path and data.split: the set to train on, verified; with wants_test the objects held out, when the split leaves
 * any. Collective; agreed. */
syz_status syz_training_open_data(syz_training *t, bool wants_test);

/** The tensor groups of parallel.tensor; a dry run on other ranks goes without. After the grid. Collective; agreed. */
syz_status syz_training_split_tensor(syz_training *t);
/** Who computes the model's blocks; in such a dry run, for how many ranks they are planned. For a model just created.
 * Collective; agreed. */
syz_status syz_training_share_blocks(const syz_training *t, syz_model *model);
/** One block of weights a node for a model just created. After the grid; collective; agreed. */
syz_status syz_training_share_weights(syz_training *t, syz_model *model);
/** Weights of the seed. A dry run has none, unless a file is to be read into them: it plans without their memory.
 * Collective over the ranks that share the weights. */
void syz_training_initialise(const syz_training *t, syz_model *model, bool is_read);
/** Fill `loop` from the shared keys. */
void syz_training_read_loop(syz_training *t);
/** What a checkpoint remembers of the input: fixed values must agree when a run is continued, others are warned of. */
typedef struct syz_remembered {
  const char *key;
  syz_key_type type;
  bool is_fixed;
} syz_remembered;
/** The model's keys that the command uses, the data set, the shared keys. After read_loop and open_data. */
void syz_training_add_facts(syz_training *t);
/** These keys [n] too. */
void syz_training_remember(syz_training *t, const syz_remembered *key, int n);

/** What a run of this global batch takes on so many ranks that hold this rank's tower(s). Not collective. */
typedef struct syz_planner {
  void *context;
  syz_status (*plan)(void *context, int64_t global_batch, int ranks, syz_plan *out);
} syz_planner;
/**
 * Engine, parameters, epochs, planned memory: what a run begins with. A dry run shows the plan item by item, for the
 * ranks of plan.ranks, and the largest global batch that fits, and writes plan.json. `out`: the plan of this run.
 * Collective; agreed. SYZ_ERR_MEMORY when the layers can't be made.
 */
syz_status syz_training_tell(const syz_training *t, const syz_planner *planner, syz_plan *out);
/** Beside the plan: the largest resident set of any rank, and what the ranks of the fullest node have together.
 * Collective; agreed. */
syz_status syz_training_tell_peak(const syz_training *t, const syz_plan *planned);
