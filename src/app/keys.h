/* SPDX-License-Identifier: BSD-3-Clause */
/** The application's table of keys. */
#pragma once

#include "app.h"
#include "syzygy/data.h"
#include "syzygy/h5.h"

/** All keys of all commands, at the defaults that they have in `command`. Not collective. */
syz_status syz_app_make_input(syz_command_id command, syz_input **out);
/** Keys that several commands have and that are not of one subject: seed, output.dir, data.*, compute.*, ... */
extern const syz_key syz_shared_keys[];
/** Mask of the commands that use this key of the model's table: a command has its towers and its heads. */
uint32_t syz_app_model_key_users(const char *path);
/** Whether `command` uses this key of the model's table (not the other tower's, nor those of heads it does not have).
 */
bool syz_app_uses_model_key(syz_command_id command, const char *path);

/** The keys data.*: path, split, verify, and bad_objects, where `skipped` is what skip means to the command.
 * `data.split: default` is `split`. */
syz_data_options syz_app_data_options(const syz_input *in, syz_split split, syz_bad_objects skipped);

/** Keys io.*: how files are laid out. */
extern const syz_key syz_io_keys[];
/** What they say. Not collective. SYZ_ERR_INPUT. */
syz_status syz_app_io_settings(const syz_app *app, syz_h5_settings *s);
/** io.driver `auto` becomes mpio or direct in the input; the log says which it is. Collective, agreed. */
syz_status syz_app_settle_io(syz_app *app);
/** What the keys say, to the room that writes the files. */
syz_status syz_app_configure_io(const syz_app *app);
