/* The vendor's test for silent errors, as torch-npu calls it (v7.3.1, Stress_detect.cpp): AmlAicoreDetectOnline of
 * libascend_ml.so where that has it, else StressDetect of libopapi.so. Part of acl.c, which all those libraries link.
 * It passes; a fault in the call (npu_emulator_fault) is what it returns: 574006, 574008 and 574009 are wrong bits,
 * 574007 a voltage that was not restored, anything else a test that did not run. */
typedef struct AmlP2PDetectAttr AmlP2PDetectAttr; /* the header is C++ */
#include "aml/aml_fwk_detect.h"

enum { STRESS_GIB = 10 }; /* of workspace, which torch-npu brings */

static int32_t stress(int32_t device, void *workspace, uint64_t bytes) {
    struct block *block = (struct block *)((char *)workspace - ALIGNMENT);
    if (!workspace || block->magic != BLOCK_MAGIC || bytes > block->bytes || bytes < (uint64_t)STRESS_GIB << 30)
        return fail(ACL_ERROR_RT_PARAM_INVALID, "EE1001: device %d brings no workspace of %d GiB", device, STRESS_GIB);
    return ACL_SUCCESS;
}

EXPORT AmlStatus AmlAicoreDetectOnline(int32_t device, const AmlAicoreDetectAttr *attributes) {
    ENTER;
    if (attributes->mode != AML_DETECT_RUN_MODE_ONLINE) return ACL_ERROR_RT_PARAM_INVALID;
    return stress(device, attributes->workspace, attributes->workspaceSize);
}

EXPORT aclError StressDetect(int32_t device, void *workspace, size_t bytes) {
    ENTER;
    return stress(device, workspace, bytes);
}
