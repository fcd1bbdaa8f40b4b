#!/usr/bin/env bash
# Whether mmcv's operators are compiled for CUDA, for which GPUs, and whether this machine can. Sourced by envs/setup.sh; alone,
# with the Python of an environment that has torch, it says what the set-up would do and builds nothing:
#   bash envs/cuda.sh .venv/bin/python
# FORCE_CUDA=1 compiles for CUDA where no GPU is, as on a login node; FORCE_CUDA=0 compiles for the CPU only.

fail() {
    echo "error: $1" >&2
    exit 1
}

gpus_present() {
    local list
    # The whole list first: `grep -q` would stop nvidia-smi in the middle of it, which pipefail takes for a failure.
    list=$(nvidia-smi --list-gpus 2>/dev/null) && grep -q "^GPU " <<<"$list"
}

cuda_wanted() {
    case "${FORCE_CUDA:-}" in
    1) return 0 ;;
    0) return 1 ;;
    "") gpus_present ;;
    *) fail "FORCE_CUDA is '$FORCE_CUDA'; allowed: 1 (compile mmcv for CUDA) and 0 (for the CPU only)" ;;
    esac
}

# The architectures to compile for, as TORCH_CUDA_ARCH_LIST spells them: given, or those of the GPUs of this machine.
cuda_architectures() {
    local given=${TORCH_CUDA_ARCH_LIST:-} example="TORCH_CUDA_ARCH_LIST='8.0;9.0' make setup" architecture
    if [ -z "$given" ]; then
        gpus_present || fail "the GPUs to compile mmcv for are not known, since this machine has none; name their compute capabilities, which \`nvidia-smi --query-gpu=compute_cap --format=csv,noheader\` prints on a GPU node: $example"
        given=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -uV | paste -sd ";")
        [[ "$given" =~ ^[0-9.\;]+$ ]] || fail "nvidia-smi does not tell the compute capabilities of the GPUs; look them up at developer.nvidia.com/cuda-gpus and name them: $example"
    fi
    given=${given// /;}
    for architecture in ${given//;/ }; do
        [[ "$architecture" =~ ^[0-9]+\.[0-9]a?(\+PTX)?$ ]] || fail "TORCH_CUDA_ARCH_LIST: '$architecture' is not a compute capability; write for example: $example"
    done
    echo "$given"
}

# nvcc where torch looks for it.
find_nvcc() {
    local home=${CUDA_HOME:-${CUDA_PATH:-}} nvcc
    if [ -n "$home" ]; then
        nvcc="$home/bin/nvcc"
    else
        nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
    fi
    [ -x "$nvcc" ] || fail "no nvcc found ($nvcc), the compiler of the CUDA toolkit, which mmcv's operators need on a machine with GPUs; load your site's module (module load cuda), set CUDA_HOME, or compile for the CPU only: FORCE_CUDA=0 make setup"
    echo "$nvcc"
}

# The toolkit of an nvcc, which may be a script that calls another one.
cuda_home() {
    local home
    home=$("$1" --dryrun -c -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
    realpath -m "${home:-$(dirname "$1")/..}"
}

nvcc_version() {
    "$1" --version | sed -n 's/.*release \([0-9]*\.[0-9]*\).*/\1/p'
}

# Before anything is installed: what is needed, how long it takes, and whether this machine has it.
announce_cuda() {
    local architectures=$1 nvcc=$2
    cat <<END
mmcv's operators will be compiled for CUDA, compute capabilities $architectures. This needs
  - torch built for CUDA, some gigabytes to download
  - nvcc of the same major version as the CUDA that torch is built for; found: $nvcc, $(nvcc_version "$nvcc")
  - a C++ compiler that this nvcc accepts; found: $(${CXX:-c++} --version | head -n 1)
and time: 59 files for nvcc beside the C++ of the CPU, which takes 20 minutes on two cores. Half an hour to an hour on 8 cores
is an estimate; each further compute capability adds to it. MAX_JOBS=<n> limits how many are compiled at once.
END
}

# After torch is installed and before mmcv is compiled.
check_cuda_torch() {
    local python=$1 nvcc=$2 built
    built=$("$python" -c "import torch; print(torch.version.cuda or '')") || fail "torch cannot be imported by $python"
    [ -n "$built" ] || fail "torch in the environment of $python is built for the CPU only, but mmcv is to be compiled for CUDA; remove the environment and name an index of packages with torch for CUDA (PIP_INDEX_URL=... make setup), or compile for the CPU only: FORCE_CUDA=0 make setup"
    local found
    found=$(nvcc_version "$nvcc")
    [ "${built%%.*}" = "${found%%.*}" ] || fail "torch is built for CUDA $built, but $nvcc is of CUDA ${found:-unknown}; load or install CUDA ${built%%.*} (module load cuda/$built) and point CUDA_HOME to it"
}

# A few lines of CUDA with the headers that torch includes: seconds, where a whole build fails after minutes.
check_cuda_compiler() {
    local nvcc=$1 architectures=$2 folder messages flags=() architecture number
    folder=$(mktemp -d)
    cat >"$folder/probe.cu" <<'END'
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>
#include <cusparse.h>
#include <vector>
__global__ void probe(float *values) { values[threadIdx.x] *= 2; }
END
    for architecture in ${architectures//;/ }; do
        number=${architecture%+PTX}
        flags+=("-gencode=arch=compute_${number//./},code=sm_${number//./}")
    done
    if ! messages=$("$nvcc" ${CC:+-ccbin "$CC"} -std=c++17 "${flags[@]}" -c "$folder/probe.cu" -o "$folder/probe.o" 2>&1); then
        rm -rf "$folder"
        fail "$nvcc cannot compile for $architectures with this machine's C++ compiler: $(grep -m 1 -iE 'error|unsupported|fatal' <<<"$messages" || head -n 1 <<<"$messages")"
    fi
    rm -rf "$folder"
}

# The CUDA that mmcv in an environment was compiled with; nothing where there is no mmcv or only its operators for the CPU.
mmcv_cuda() {
    "$1" -c "
from mmcv.ops import get_compiling_cuda_version
version = get_compiling_cuda_version()
print('' if version == 'not available' else version)" 2>/dev/null || true
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    if ! cuda_wanted; then
        echo "No GPU here and no FORCE_CUDA=1: mmcv's operators are compiled for the CPU only."
        exit 0
    fi
    architectures=$(cuda_architectures)
    nvcc=$(find_nvcc)
    announce_cuda "$architectures" "$nvcc"
    check_cuda_compiler "$nvcc" "$architectures"
    [ -z "${1:-}" ] || check_cuda_torch "$1" "$nvcc"
    echo "All of it is here."
fi
