# build: native programs into bin/     demo: the main job, end to end
# test: everything needed plus all tests (last line: N passed, N failed, N skipped)
# bench: benchmarks against a peer     fmt: format the sources

.PHONY: build demo test test-golden bench fmt clean

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
	@build/test.sh

test-golden:
	@build/deps.sh build
	@build/test.sh golden

bench:
	@build/deps.sh bench
	@build/native.sh
	@bench/run.sh

fmt:
	dotnet format whitespace BuildKit.slnx

clean:
	rm -rf artifacts bin
