"""What comparisons show: findings, audit, similarity, trajectory, verification, lineage, merges."""
