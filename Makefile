# build: native programs into bin/     demo: the main job, end to end
# test: everything needed plus all tests (last line: N passed, N failed, N skipped)
# lint: analyzers and formatting, warnings are errors     fmt: format the sources
# bench: benchmarks against a peer

.PHONY: build demo test test-golden lint bench fmt clean

build:
	@build/deps.sh build
	@build/native.sh

demo:
	@build/deps.sh demo
	@build/native.sh
	@examples/demo/run.sh

test:
	@build/deps.sh test
	@build/foreign.sh
	@build/native.sh
	@build/lint.sh
	@ANALYZE=true build/test.sh

test-golden:
	@build/deps.sh test
	@[ -n "$$BUILDKIT_TEST_BIN" ] || build/native.sh
	@build/test.sh golden

lint:
	@build/lint.sh

bench:
	@build/deps.sh bench
	@build/native.sh
	@bench/run.sh

fmt:
	dotnet format whitespace BuildKit.slnx

clean:
	rm -rf artifacts bin
