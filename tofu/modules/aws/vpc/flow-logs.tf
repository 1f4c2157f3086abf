locals {
  flow_log_group = "/sre/${local.short_id}/${var.name}/flow"
}

resource "aws_cloudwatch_log_group" "flow" {
  count = var.flow_logs == null ? 0 : 1

  name              = local.flow_log_group
  retention_in_days = var.flow_logs.retention_days
  kms_key_id        = var.flow_logs.kms_key_arn
  tags              = merge(local.tags, { Name = "${var.name}-flow" })
}

resource "aws_iam_role" "flow" {
  count = var.flow_logs == null ? 0 : 1

  name                 = "sre-${local.short_id}-flow"
  path                 = "/sre/${local.short_id}/"
  permissions_boundary = var.permissions_boundary
  tags                 = merge(local.tags, { Name = "${var.name}-flow" })

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

# Without logs:CreateLogGroup on purpose: with it a last record that is delivered after the end would make the log group
# again, without retention and without an owner.
resource "aws_iam_role_policy" "flow" {
  count = var.flow_logs == null ? 0 : 1

  name = "write"
  role = aws_iam_role.flow[0].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogGroups", "logs:DescribeLogStreams"]
      Resource = ["${aws_cloudwatch_log_group.flow[0].arn}", "${aws_cloudwatch_log_group.flow[0].arn}:*"]
    }]
  })
}

resource "aws_flow_log" "this" {
  count = var.flow_logs == null ? 0 : 1

  vpc_id                   = aws_vpc.this.id
  traffic_type             = "ALL"
  max_aggregation_interval = 60
  log_destination_type     = "cloud-watch-logs"
  log_destination          = aws_cloudwatch_log_group.flow[0].arn
  iam_role_arn             = aws_iam_role.flow[0].arn
  tags                     = merge(local.tags, { Name = var.name })

  depends_on = [aws_iam_role_policy.flow]
}

data "aws_caller_identity" "current" {}
