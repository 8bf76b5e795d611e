# Stands for a program on a GPU: it tells the fake NVML what is held. Needs FAKE_NVML.
# usage: . gpu.sh; gpu used=100 process=$$:100
gpu() {
    for pair; do
        key=${pair%%=*}
        { grep -v "^$key=" "$FAKE_NVML"; echo "$pair"; } > "$FAKE_NVML.new"
        mv "$FAKE_NVML.new" "$FAKE_NVML"
    done
}
phase() { echo "{\"phase\":\"$1\"}" > "$VRAMPLAN_PHASE_PATH"; }
