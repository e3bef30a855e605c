#!/usr/bin/env bash
# Runs the tests with every supported Python on this machine, each with numpy 1.26 and 2.x: make test-versions.
#
#   PYTHONS         interpreters, names or paths                     default: python3.10 python3.11 python3.12
#   NUMPYS          releases of numpy                                default: 1.26 2
#   TORCH           what pip is asked for                            default: torch==2.13.0
#   WITHOUT_TORCH   Python versions that get none of its gigabytes, and run only the tests that need none
set -uo pipefail
cd "$(dirname "$0")/.."
ALL="Testing --ignore=Testing/slicer"
NO_TORCH="Testing/test_body.py Testing/test_dicom_reader.py Testing/test_dicom_lengths.py Testing/test_job.py Testing/test_metrics.py
  Testing/test_radiomics.py Testing/test_suv.py Testing/test_volume.py"
failed=0
for python in ${PYTHONS:-python3.10 python3.11 python3.12}; do
  if ! version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
    echo "$python: not on this machine"
    continue
  fi
  for numpy in ${NUMPYS:-1.26 2}; do
    environment=.venv/versions/$version-numpy-$numpy
    [ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
    if [[ " ${WITHOUT_TORCH:-} " == *" $version "* ]]; then
      tests=$NO_TORCH
      wanted="scipy SimpleITK tqdm pytest hypothesis pydicom scikit-image"
    else
      tests=$ALL
      wanted="${TORCH:-torch==2.13.0} -e .[demo,train,test]"
    fi
    echo "== Python $version, numpy $numpy: $tests"
    "$environment/bin/pip" install -q "numpy==$numpy.*" $wanted &&
      "$environment/bin/python" -c 'import numpy, scipy; print("numpy", numpy.__version__, "scipy", scipy.__version__)' &&
      "$environment/bin/python" -m compileall -q MAPDiffLib MAPDiff training bench &&
      "$environment/bin/python" -m pytest -q -p no:cacheprovider $tests || failed=1
  done
done
exit $failed
