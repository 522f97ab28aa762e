/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: which driver a file system asks for. */
#pragma once

#include "syzygy/h5.h"

/** The driver for a file system by its f_type of statfs(2); *name: of the file system, NULL when it is not known. Not
 * collective. */
syz_h5_driver syz_h5_driver_on(uint32_t f_type, bool are_several_nodes, const char **name);
