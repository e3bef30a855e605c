# make demo                a simulated 1/20-dose scan, restored and compared with the real doses (demo/demo.png)
# make demo SCAN=path      the same for a scan of yours (NIfTI, NRRD, MetaImage, or a folder of DICOM slices)
# make test                lint and tests
# make test-long          what takes minutes: 10,000 fuzzed files of each kind, 50 kills, 200 restorations
# make test-versions      the tests with each supported Python that is there, numpy 1.26 and 2.x (Testing/versions.sh)
# make bench               the table: every method on six unseen simulated cases, from 1/20 dose
# make bench-speed         seconds and memory beside what else there is; on a GPU: make bench-speed DEVICE=cuda
# make model               a model from nothing, all in MODEL: cases, calibration, training, its bundle, its table. Goes on
#                          where it was stopped. JOBS cases at a time; SET="batch=4 seed=2" replaces training settings
# Each sets up .venv on first use.
PYTHON ?= python3
SCAN   ?=
# The one torch version this was tested with, taken only where .venv has no torch yet. Another build, or the small one
# without CUDA on Linux: make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH  ?= torch==2.13.0
DEVICE ?= cpu
MODEL  ?= runs/model
JOBS   ?= 2
SET    ?=
# The cases of the model: of training, of training with many lesions, of validation, of the table.
TRAIN_SEEDS      ?= 0-95
LESION_SEEDS     ?= 200-231
VALIDATION_SEEDS ?= 0-11
TEST_SEEDS       ?= 0-5
CASE   := demo/cases/test/case-00000

SIMULATE := .venv/bin/mapdiff-train simulate --jobs $(JOBS)
TRAIN    := .venv/bin/mapdiff-train train --cases $(MODEL)/cases/train --set $(SET)
EXPORT   := .venv/bin/mapdiff-train export --cases $(MODEL)/cases/train --validation $(MODEL)/cases/validation \
	--calibration $(MODEL)/calibration.json

.PHONY: demo test test-long test-versions bench bench-speed model
.DELETE_ON_ERROR:

ifeq ($(strip $(SCAN)),)
demo: .venv/demo.stamp
	.venv/bin/mapdiff-train simulate --split test --seeds 0-0 --output demo/cases
	.venv/bin/mapdiff demo $(CASE) --output demo --overwrite
else
demo: .venv/demo.stamp
	.venv/bin/mapdiff restore "$(SCAN)" --output demo --figure --overwrite
endif

test: .venv/test.stamp
	.venv/bin/ruff check
	.venv/bin/python -m pytest -q

test-long: .venv/test.stamp
	.venv/bin/python -m pytest -q -m long

test-versions:
	TORCH="$(TORCH)" Testing/versions.sh

bench: .venv/test.stamp
	.venv/bin/mapdiff-train simulate --split test --seeds 0-5 --output demo/cases --jobs 2
	.venv/bin/mapdiff-train evaluate --cases demo/cases/test --output demo/bench --input-doses 1/20 --no-classical

bench-speed: .venv/bench.stamp
	.venv/bin/mapdiff-train bench --device $(DEVICE) --output demo/bench-speed

model: .venv/train.stamp
	$(SIMULATE) --split train --seeds $(TRAIN_SEEDS) --output $(MODEL)/cases
	$(SIMULATE) --split train --seeds $(LESION_SEEDS) --lesions 30-50 --lesion-rich --output $(MODEL)/cases
	$(SIMULATE) --split validation --seeds $(VALIDATION_SEEDS) --output $(MODEL)/cases
	$(SIMULATE) --split test --seeds $(TEST_SEEDS) --output $(MODEL)/cases
	.venv/bin/mapdiff-train calibrate --cases $(MODEL)/cases/train --output $(MODEL)/calibration.json --limit 12
	$(TRAIN) --config warm-start --output $(MODEL)/warm-start
	$(TRAIN) --config mapdiff-base --output $(MODEL)/mapdiff-base --start-from $(MODEL)/warm-start
	test -d $(MODEL)/my-model || $(EXPORT) --run-folder $(MODEL)/mapdiff-base --output $(MODEL)/my-model
	.venv/bin/mapdiff-train evaluate --cases $(MODEL)/cases/test --output $(MODEL)/table --no-classical \
		--bundle $(MODEL)/my-model

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/torch.stamp: | .venv/bin/python
	.venv/bin/python -c "import torch" 2>/dev/null || .venv/bin/pip install $(TORCH)
	touch $@

.venv/demo.stamp: pyproject.toml | .venv/torch.stamp
	.venv/bin/pip install -e '.[demo]'
	touch $@

.venv/train.stamp: pyproject.toml | .venv/torch.stamp
	.venv/bin/pip install -e '.[demo,train]'
	touch $@

.venv/test.stamp: pyproject.toml | .venv/torch.stamp
	.venv/bin/pip install -e '.[demo,train,test,panel]'
	touch $@ .venv/demo.stamp .venv/train.stamp

.venv/bench.stamp: pyproject.toml | .venv/torch.stamp
	.venv/bin/pip install -e '.[demo,baselines]'
	touch $@
