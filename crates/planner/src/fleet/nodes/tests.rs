use super::*;

fn read(text: &str) -> Inventory {
    nodes(text, &Types::default()).unwrap()
}

/// Each node's cards in a line.
fn lines(inventory: &Inventory) -> Vec<String> {
    let cards = |node: &Node| {
        let cards = node.cards.iter().map(|cards| {
            format!(
                "{} x {} ({})",
                cards.count,
                cards.gpu.as_deref().unwrap_or("?"),
                cards.resource
            )
        });
        cards.collect::<Vec<_>>().join(" + ")
    };
    let line = |node: &Node| {
        let state = if node.up { "up" } else { "down" };
        let driver = node.driver.as_deref().unwrap_or("-");
        format!("{} {state} {driver} {:?} {}", node.name, node.partitions, cards(node))
    };
    inventory.nodes.iter().map(line).collect()
}

/// As `sinfo --json` of Slurm 22.05 printed it on one machine, without what is not read.
const OF_22_05: &str = r#"{"meta": {"plugin": {"type": "openapi/v0.0.38"}}, "errors": [], "nodes": [
  {"architecture": "x86_64", "features": "", "active_features": "", "gres": "gpu:l4:1,gpu:a100:1",
   "gres_used": "gpu:l4:0(IDX:N/A),gpu:a100:0(IDX:N/A)", "name": "vm", "state": "idle", "state_flags": [],
   "partitions": ["test"], "real_memory": 4000},
  {"name": "l4-02", "gres": "gpu:l4:4(S:0-1)", "state": "down", "partitions": ["test", "all"],
   "active_features": "avx512,driver-550.54.15"},
  {"name": "login", "gres": "", "state": "idle", "partitions": []}]}"#;

/// In the form of 23.11 and later (`sinfo --json`, data parser 0.0.40).
const OF_23_11: &str = r#"{"sinfo": [
  {"port": 0, "node": {"state": ["IDLE"]}, "nodes": {"allocated": 0, "total": 2, "nodes": ["h[1-2]"]},
   "gres": {"total": "gpu:h100_3g.40gb:2(S:0),gpu:h100:6(S:0-1)", "used": "gpu:0"}, "partition": {"name": "gpu"},
   "features": {"total": "driver=560.35.03", "active": "driver=560.35.03"}},
  {"node": {"state": ["IDLE", "DRAIN"]}, "nodes": {"nodes": ["h3"]}, "gres": {"total": "gpu:8"},
   "partition": {"name": "gpu"}, "features": {"active": ""}}]}"#;

#[test]
fn slurm_says_its_nodes_in_json() {
    assert_eq!(
        lines(&read(OF_22_05)),
        [
            "l4-02 down 550.54.15 [\"test\", \"all\"] 4 x L4 (gpu:l4)",
            "login up - [] ",
            "vm up - [\"test\"] 1 x L4 (gpu:l4) + 1 x ? (gpu:a100)",
        ]
    );
    let of_h = "[\"gpu\"] 2 x H100-3g.40gb (gpu:h100_3g.40gb) + 6 x H100 (gpu:h100)";
    assert_eq!(
        lines(&read(OF_23_11)),
        [
            format!("h1 up 560.35.03 {of_h}"),
            format!("h2 up 560.35.03 {of_h}"),
            "h3 down - [\"gpu\"] 8 x ? (gpu)".to_owned(),
        ]
    );
    let types = Types::parse(["a100=A100-80GB"]).unwrap();
    assert_eq!(
        nodes(OF_22_05, &types).unwrap().nodes[2].cards[1].gpu.as_deref(),
        Some("A100-80GB")
    );
}

#[test]
fn slurm_says_its_nodes_in_lines() {
    let text = "NODELIST GRES PARTITION STATE AVAIL_FEATURES\nvm gpu:l4:1,gpu:a100:1 test* idle (null)\n\
                l4-[01-02] gpu:l4:2 test* down* driver-535.183.06\nl4-[01-02] gpu:l4:2 all down* (null)\n";
    let expected = [
        "l4-01 down 535.183.06 [\"test\", \"all\"] 2 x L4 (gpu:l4)",
        "l4-02 down 535.183.06 [\"test\", \"all\"] 2 x L4 (gpu:l4)",
        "vm up - [\"test\"] 1 x L4 (gpu:l4) + 1 x ? (gpu:a100)",
    ];
    assert_eq!(lines(&read(text)), expected);
    let (_, bare) = text.split_once('\n').unwrap();
    assert_eq!(lines(&read(bare)), expected);
    let table = "HOSTNAMES|NODELIST|STATE|GRES\nx|vm|mixed|gpu:t4:1(S:0)\n";
    assert_eq!(lines(&read(table)), ["vm up - [] 1 x T4 (gpu:t4)"]);
}

#[test]
fn kubernetes_says_its_nodes_by_labels() {
    // Labels and resources in the forms that public listings of GPU feature discovery 0.13 to 0.17 show.
    let text = r#"{"kind": "List", "items": [
      {"kind": "Node", "metadata": {"name": "l4-a", "labels": {"nvidia.com/gpu.product": "NVIDIA-L4",
        "nvidia.com/gpu.memory": "23034", "nvidia.com/gpu.count": "1", "nvidia.com/cuda.driver-version.full": "580.126.20"}},
       "status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": "1"}, "conditions": [{"type": "Ready", "status": "True"}]}},
      {"kind": "Node", "metadata": {"name": "t4-shared", "labels": {"nvidia.com/gpu.product": "Tesla-T4-SHARED",
        "nvidia.com/gpu.replicas": "4", "nvidia.com/cuda.driver.major": "535", "nvidia.com/cuda.driver.minor": "183",
        "nvidia.com/cuda.driver.rev": "06"}},
       "spec": {"unschedulable": true}, "status": {"capacity": {"nvidia.com/gpu": "8"}}},
      {"kind": "Node", "metadata": {"name": "a100-mixed", "labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB",
        "nvidia.com/gpu.memory": "40960", "nvidia.com/mig.strategy": "mixed", "nvidia.com/mig-3g.20gb.count": "2"}},
       "status": {"allocatable": {"nvidia.com/mig-3g.20gb": "2", "nvidia.com/gpu": "0"}}},
      {"kind": "Node", "metadata": {"name": "a100-single", "labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-3g.20gb",
        "nvidia.com/gpu.memory": "20096", "nvidia.com/mig.strategy": "single"}},
       "status": {"allocatable": {"nvidia.com/gpu": "2"}, "conditions": [{"type": "Ready", "status": "Unknown"}]}},
      {"kind": "Node", "metadata": {"name": "control", "labels": {}}, "status": {"allocatable": {"cpu": "4"}}}]}"#;
    let found = read(text);
    let lines = lines(&found);
    assert_eq!(lines[0], "l4-a up 580.126.20 [] 1 x L4 (nvidia.com/gpu)");
    assert_eq!(lines[1], "t4-shared down 535.183.06 [] 8 x T4 (nvidia.com/gpu)");
    assert!(lines[2].contains("2 x A100-40GB-3g.20gb (nvidia.com/mig-3g.20gb)"), "{lines:?}");
    assert!(
        lines[3].contains("down") && lines[3].contains("2 x A100-40GB-3g.20gb (nvidia.com/gpu)"),
        "{lines:?}"
    );
    assert_eq!(found.notes, ["`control` has no GPU that is allocatable"]);
    assert_eq!(found.nodes[2].cards[0].selector["nvidia.com/gpu.product"], "NVIDIA-A100-SXM4-40GB");
}

#[test]
fn a_list_by_hand_is_read() {
    let text = "node,gpu,count,driver\n# ours\nl4-[1-2], L4, 2, 550.54.15\nbox,RTX 4090\n";
    assert_eq!(
        lines(&read(text)),
        [
            "l4-1 up 550.54.15 [] 2 x L4 (gpu:l4)",
            "l4-2 up 550.54.15 [] 2 x L4 (gpu:l4)",
            "box up - [] 1 x RTX 4090 (gpu:rtx_4090)",
        ]
    );
}

#[test]
fn what_is_no_list_says_why() {
    for (text, part) in [
        ("", "names no node"),
        ("{", "begins like JSON"),
        ("{\"a\": 1}", "not a list of nodes"),
        ("[]", "not a list of nodes"),
        ("one two three", "line 1"),
        ("a,L4,0", "line 1"),
        ("a,L4,1,driver alice", "line 1"),
        ("n[0-9999999],L4", "more than 20000"),
        ("\u{1b}]0;x", "line 1: `\\u{1b}"),
    ] {
        let error = nodes(text, &Types::default()).unwrap_err().to_string();
        assert!(error.contains(part), "{text:?}: {error}");
    }
    assert!(Types::parse(["a100"]).is_err() && Types::parse(["a100=Alice 9000"]).is_err());
}
