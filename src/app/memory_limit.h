/* SPDX-License-Identifier: BSD-3-Clause */
/** What a process must be allowed before MPI can begin. */
#pragma once

#include "app.h"

/** SYZ_ERR_MEMORY with what to change where a limit (ulimit) leaves too little to start. Not collective. */
syz_status syz_app_check_memory_limit(void);
