/* SPDX-License-Identifier: BSD-3-Clause */
/** Keys of the validation of pretraining (syz_judge), and options that probe and analyse share. */
#include "features_keys.h"

#include "compute.h"
#include "keys.h"

enum { USED = SYZ_USED_WHERE(SYZ_JUDGES_FEATURES) };

const syz_key syz_validate_keys[] = {
    {"validate.train_objects", SYZ_KEY_INT, "2000", "objects", 0, 65536, NULL, USED,
     "Objects of the training split that are searched for neighbours; 0: no validation by neighbours."},
    {"validate.test_objects", SYZ_KEY_INT, "1000", "objects", 2, 65536, NULL, USED,
     "Held-out objects whose labels are predicted."},
    {"validate.neighbours", SYZ_KEY_INT, "64", "", 1, 4096, NULL, USED,
     "Nearest neighbours per prediction, in standardised class tokens, with weights 1/distance."},
    {"validate.regress", SYZ_KEY_LIST, "redshift", "labels", 0, 0, NULL, USED,
     "Labels to predict as numbers (R^2); a default label that the data lack is left out."},
    {"validate.classify", SYZ_KEY_LIST, "morphology", "labels", 0, 0, NULL, USED,
     "Labels to predict as classes (accuracy): whole numbers from 0. morphology, where no file has it, is 3 (merger) "
     "with is_merger, else 2 (spiral) with n_arms > 0, else 0 (spheroid) with bulge_fraction > 0.5, else 1 (disk)."},
    {"validate.pixel_components", SYZ_KEY_INT, "64", "", 0, 1024, NULL, USED,
     "Baseline: neighbours in this many principal components of the pixels; 0: no such baseline."},
    {"validate.batch", SYZ_KEY_INT, "16", "objects per rank", 1, 4096, NULL, USED,
     "Images that go through the teacher together; the result does not depend on it."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

syz_judge_options syz_app_judge_options(const syz_input *in)
{
  return (syz_judge_options){
      .train_objects = syz_input_int(in, "validate.train_objects"),
      .test_objects = syz_input_int(in, "validate.test_objects"),
      .neighbours = syz_input_int(in, "validate.neighbours"),
      .label = {syz_input_list(in, "validate.regress"), syz_input_list(in, "validate.classify")},
      .is_given = {syz_input_is_given(in, "validate.regress"), syz_input_is_given(in, "validate.classify")},
      .pixel_components = syz_input_int(in, "validate.pixel_components"),
      .batch = syz_input_int(in, "validate.batch"),
      .threads = syz_app_compute_options(in).threads};
}

syz_status syz_app_frozen_options(const syz_input *in, bool is_untrained, int64_t batch, syz_frozen_options *out)
{
  syz_status st = SYZ_OK;
  *out = (syz_frozen_options){.data = syz_app_data_options(in, SYZ_SPLIT_ALL, SYZ_BAD_IMAGES_SKIPPED),
                              .model_file = syz_input_text(in, "model.file"),
                              .is_untrained = is_untrained,
                              .seed = (uint64_t)syz_input_int(in, "seed"),
                              .compute = syz_app_compute_options(in),
                              .batch = batch};
  if (is_untrained && !*out->model_file) SYZ_TRY(syz_model_config_read(in, &out->config));
cleanup:
  return st;
}
