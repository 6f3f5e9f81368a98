/* libbld: build, keep, read, compare and move container images. This is the umbrella header. */
#ifndef BLD_BLD_H
#define BLD_BLD_H

#include "bld/analyze.h"
#include "bld/build.h"
#include "bld/check.h"
#include "bld/diff.h"
#include "bld/edit.h"
#include "bld/file.h"
#include "bld/image.h"
#include "bld/layer.h"
#include "bld/open.h"
#include "bld/packages.h"
#include "bld/registry.h"
#include "bld/session.h"
#include "bld/tree.h"

#endif
