/* SPDX-License-Identifier: BSD-3-Clause */
/** The application's table of keys. */
#pragma once

#include "app.h"
#include "syzygy/data.h"
#include "syzygy/h5.h"

/** All keys of all commands, with the defaults of `command`. Not collective. */
syz_status syz_app_make_input(syz_command_id command, syz_input **out);
/** Keys that several commands share: seed, output.dir, data.*, compute.*, ... */
extern const syz_key syz_shared_keys[];
/** Mask of the commands that use this key of the model's table: those of the command's towers and heads. */
uint32_t syz_app_model_key_users(const char *path);
/** Whether `command` uses this key of the model's table (not the other tower's, nor those of heads it does not have).
 */
bool syz_app_uses_model_key(syz_command_id command, const char *path);

/** The keys data.*: path, split, verify, and bad_objects, where `skipped` is what skip means to the command.
 * `data.split: default` is `split`. */
syz_data_options syz_app_data_options(const syz_input *in, syz_split split, syz_bad_objects skipped);

/** Keys io.*: layout and writing of files. */
extern const syz_key syz_io_keys[];
/** Settings from these keys. Not collective. SYZ_ERR_INPUT. */
syz_status syz_app_io_settings(const syz_app *app, syz_h5_settings *s);
/** Replace io.driver `auto` by mpio or direct in the input, and log the choice. Collective, agreed. */
syz_status syz_app_settle_io(syz_app *app);
/** Pass these settings to room h5, which writes the files. */
syz_status syz_app_configure_io(const syz_app *app);
