"""What a comparison shows: findings, audit, similarity, trajectory, verification, lineage."""
